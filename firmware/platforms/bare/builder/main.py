import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
platform = env.PioPlatform()
board = env.BoardConfig()
prefix, library_flags = platform.toolchain()

sys.path.insert(0, platform.get_dir())
import size_report  # noqa: E402

# The last ISA whose base holds the CSR instructions and fence.i: later ones name multilibs that few toolchains have.
machine = ["-march=rv32imc", "-mabi=ilp32", "-misa-spec=2.2"]
ldscript = env.File(str(Path(env["PROJECT_DIR"], board.get("build.ldscript"))))

env.Replace(
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    CC=f"{prefix}gcc",
    AS=f"{prefix}gcc",
    LINK=f"{prefix}gcc",
    AR=f"{prefix}gcc-ar",
    RANLIB=f"{prefix}gcc-ranlib",
    OBJCOPY=f"{prefix}objcopy",
    SIZETOOL=f"{prefix}size",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPROGREGEXP=r"^(?:\.text|\.rodata|\.bundle|\.hot|\.data)\s+(\d+).*",
    SIZEDATAREGEXP=r"^(?:\.stack|\.hot|\.data|\.bss)\s+(\d+).*",
    LDSCRIPT_PATH=ldscript,
)
env.Append(
    ASPPFLAGS=[*machine, "-x", "assembler-with-cpp"],
    # -malign-data: no word of alignment for every string
    CCFLAGS=[
        *machine,
        *library_flags,
        "-malign-data=natural",
        "-ffreestanding",
        "-ffunction-sections",
        "-fdata-sections",
    ],
    # -n: no page alignment, or the ELF header lands in a segment that is loaded
    LINKFLAGS=[
        *machine,
        *library_flags,
        "-nostartfiles",
        "-n",
        "-Wl,--gc-sections",
        '-Wl,-Map="$BUILD_DIR/firmware.map"',
    ],
    LIBS=["c", "gcc"],
    BUILDERS={
        "FlashImage": Builder(
            # The data window's load addresses, moved to the same bytes' addresses in the instruction window.
            action=env.VerboseAction(
                "$OBJCOPY -O binary --gap-fill 0xff -j .text -j .rodata -j .bundle -j .hot -j .data"
                " --change-section-lma .rodata+0x6000000 --change-section-lma .bundle+0x6000000"
                " --change-section-lma .hot+0x6000000 --change-section-lma .data+0x6000000 $SOURCE $TARGET",
                "Building $TARGET",
            ),
            suffix=".bin",
        )
    },
)

elf = env.BuildProgram()
env.Depends(elf, ldscript)
env.AddPostAction(elf, env.VerboseAction(size_report.print_sizes, "Measuring $TARGET"))
products = [elf]

if board.get("build.mcu") == "esp32c3":
    image = env.FlashImage("$BUILD_DIR/${PROGNAME}", elf)
    products.append(image)
    flash = [sys.executable, str(Path(platform.get_dir(), "flash.py")), "$UPLOAD_PORT", "$UPLOAD_SPEED", "$SOURCE"]
    env.AddPlatformTarget(
        "upload",
        image,
        [
            env.VerboseAction(env.AutodetectUploadPort, "Looking for the upload port"),
            env.VerboseAction(" ".join(f'"{part}"' for part in flash), "Flashing $SOURCE"),
        ],
        "Upload",
    )
AlwaysBuild(env.Alias("size", elf, env.VerboseAction(size_report.print_sizes, "Measuring $SOURCE")))
Default(products)
