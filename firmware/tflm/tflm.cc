/* The second engine: TFLite Micro's interpreter on the flatbuffer in the bundle, which it reads in place (docs/boards.md).
 * It computes all positions, however short the sentence. No heap: activations in an arena whose size the bundle's
 * manifest names, everything else static. */
#include <cstring>
#include <initializer_list>
#include <optional>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/schema/schema_utils.h"

extern "C" {
#include "encoder.h"
}

namespace {

alignas(16) uint8_t arena[UB_TFLM_ARENA_BYTES];

bool has_shape(const TfLiteTensor *tensor, std::initializer_list<int> shape) {
  if (tensor == nullptr || tensor->type != kTfLiteInt8 || tensor->dims->size != static_cast<int>(shape.size())) {
    return false;
  }
  return std::memcmp(tensor->dims->data, shape.begin(), shape.size() * sizeof(int)) == 0;
}

class Engine {
 public:
  explicit Engine(const ub_agent *agent)
      : flatbuffer_(agent->sections[UB_FLATBUFFER].bytes),
        crc32_(agent->crc32),
        positions_(agent->encoder.positions),
        embed_(agent->encoder.embed),
        interpreter_(tflite::GetModel(flatbuffer_), operators_, arena, sizeof arena) {
    /* Those that convert/flatbuffer.py makes; what is not registered is not linked. */
    operators_.AddAdd();
    operators_.AddBatchMatMul();
    operators_.AddConv2D();
    operators_.AddFullyConnected();
    operators_.AddL2Normalization();
    operators_.AddReshape();
    operators_.AddSoftmax();
    operators_.AddStridedSlice();
    operators_.AddTranspose();
  }

  bool serves(const ub_agent *agent) const {
    return flatbuffer_ == agent->sections[UB_FLATBUFFER].bytes && crc32_ == agent->crc32;
  }

  /* To be called once. Runs the interpreter, so that an operator that fails does so here. */
  ub_status open(const ub_encoder_header& encoder) {
    const tflite::Model *const model = tflite::GetModel(flatbuffer_);
    if (model->version() != TFLITE_SCHEMA_VERSION) return UB_ERROR_FORMAT;
    for (const tflite::OperatorCode *code : *model->operator_codes()) {
      if (operators_.FindOp(tflite::GetBuiltinCode(code)) == nullptr) return UB_ERROR_FORMAT;
    }
    if (interpreter_.inputs_size() != 2 || interpreter_.outputs_size() != 2) return UB_ERROR_FORMAT;
    if (interpreter_.AllocateTensors() != kTfLiteOk) return UB_ERROR_ARENA;
    /* The converter leaves their order open. */
    const size_t embedding = interpreter_.input(0)->dims->size == 3 ? 0 : 1;
    const size_t classes = interpreter_.output(0)->dims->size == 2 ? 0 : 1;
    if (!has_shape(interpreter_.input(embedding), {1, encoder.positions, encoder.embed}) ||
        !has_shape(interpreter_.input(1 - embedding), {1, 1, 1, encoder.positions}) ||
        !has_shape(interpreter_.output(classes), {1, encoder.classes}) ||
        !has_shape(interpreter_.output(1 - classes), {1, encoder.positions - 1, encoder.tags})) {
      return UB_ERROR_FORMAT;
    }
    embedding_ = interpreter_.input(embedding)->data.int8;
    mask_ = interpreter_.input(1 - embedding)->data.int8;
    classes_ = interpreter_.output(classes)->data.int8;
    tags_ = interpreter_.output(1 - classes)->data.int8;
    return interpreter_.Invoke() == kTfLiteOk ? UB_OK : UB_ERROR_FORMAT;
  }

  /* The logits, valid until the next call. */
  ub_logits encode(const int8_t *embeddings, uint32_t positions, uint8_t *scratch) {
    std::memcpy(embedding_, embeddings, positions * embed_);
    std::memset(embedding_ + positions * embed_, 0, (positions_ - positions) * embed_);
    std::memset(mask_, INT8_MAX, positions);
    std::memset(mask_ + positions, INT8_MIN, positions_ - positions);
    interpreter_.Invoke();
    return {classes_, tags_, scratch};
  }

 private:
  const uint8_t *flatbuffer_;
  uint32_t crc32_;
  uint32_t positions_, embed_;
  int8_t *embedding_, *mask_;        /* inputs */
  int8_t *classes_, *tags_;          /* outputs */
  tflite::MicroMutableOpResolver<9> operators_;
  tflite::MicroInterpreter interpreter_;
};

std::optional<Engine> engine; /* of the bundle that was last opened or asked */

}  // namespace

ub_status ub_tflm_open(const ub_agent *agent) {
  engine.reset();
  const ub_status status = engine.emplace(agent).open(agent->encoder);
  if (status != UB_OK) engine.reset();
  return status;
}

ub_logits ub_tflm_encode(const ub_agent *agent, const int8_t *embeddings, uint32_t positions) {
  if (!engine || !engine->serves(agent)) ub_tflm_open(agent); /* which it was before: a candidate came between */
  return engine->encode(embeddings, positions, agent->arena);
}
