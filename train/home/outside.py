"""Sentences that are no command for a home, made by rule: fragments, noise, impossible commands."""

import random
from collections.abc import Sequence

from train.home.lexicon import Lexicon

IMPOSSIBLE = (
    "(turn|switch) (on|off) the {nonsense_thing}",
    "(open|close|lock|unlock|start|stop|mute|pause) the {nonsense_thing}",
    "{nonsense_verb} the {nonsense_thing}",
    "{nonsense_verb} (my|the|a|some) {nonsense_thing} [please]",
    "[please] {nonsense_verb} the {area}",
    "{nonsense_verb} (the|my) {name}",
    "{nonsense_verb} the (lights|lamp|heating|blinds|tv|music|timer)",
    "set the {nonsense_thing} to (fifty|ten|half|red|warm white|auto|20 percent)",
    "(what is|what's|how is) the {nonsense_thing} [doing] [today]",
    "(what color|how big|how old|how heavy|how expensive) is the ({nonsense_thing}|{name})",
    "(who|why|when) (painted|bought|broke|invented|sold) the ({nonsense_thing}|{name}|{area})",
    "where (did|does|should) (i|we|he|she) (put|buy|find|sell) (the|a) ({name}|{nonsense_thing})",
    "(i|we) (bought|sold|broke|painted|cleaned|like|love|hate) the ({name}|{area}) [yesterday|last week]",
    "the ({area}|{name}) (looks|is) (nice|ugly|old|new|dirty|too small|expensive|broken)",
    "(is|are) (the|our) ({area}|{name}) (pretty|haunted|made of wood|for sale|bigger than the {area})",
)
"""Commands and remarks about things that no home can serve, in English; lists are the lexicon's."""

_CLINC150 = (
    "accept_reservations account_blocked alarm application_status apr are_you_a_bot balance bill_balance "
    "bill_due book_flight book_hotel calculator calendar calendar_update calories cancel_reservation "
    "car_rental card_declined change_accent change_ai_name change_language change_speed change_user_name "
    "confirm_reservation cook_time credit_limit credit_limit_change credit_score current_location "
    "damaged_card definition direct_deposit directions distance do_you_have_pets exchange_rate "
    "expiration_date find_phone flight_status flip_coin food_last freeze_account fun_fact gas gas_type "
    "how_busy how_old_are_you improve_credit_score income ingredient_substitution ingredients_list "
    "insurance insurance_change interest_rate international_fees international_visa jump_start "
    "last_maintenance lost_luggage make_call maybe meal_suggestion meaning_of_life measurement_conversion "
    "meeting_schedule min_payment mpg new_card next_holiday no nutrition_info oil_change_how "
    "oil_change_when oos order order_checks order_status pay_bill payday pin_change plug_type pto_balance "
    "pto_request pto_request_status pto_used recipe redeem_rewards replacement_card_duration report_fraud "
    "report_lost_card reset_settings restaurant_reservation restaurant_reviews restaurant_suggestion "
    "rewards_balance roll_dice rollover_401k routing schedule_maintenance schedule_meeting share_location "
    "shopping_list spelling spending_history sync_device taxes tell_joke text timezone tire_change "
    "tire_pressure todo_list traffic transactions transfer translate travel_alert travel_notification "
    "travel_suggestion uber user_name vaccines w2 what_are_your_hobbies what_can_i_ask_you "
    "what_is_your_name what_song where_are_you_from whisper_mode who_do_you_work_for who_made_you yes "
)
_HWU64 = (
    "alarm_query alarm_remove alarm_set calendar_query calendar_remove calendar_set cooking_recipe "
    "datetime_convert email_addcontact email_query email_querycontact email_sendemail general_affirm "
    "general_confirm general_dontcare general_explain general_joke general_negate general_praise "
    "general_quirky general_repeat lists_query music_likeness music_query news_query qa_currency "
    "qa_definition qa_factoid qa_maths qa_stock recommendation_events recommendation_locations "
    "recommendation_movies social_post social_query takeaway_order takeaway_query transport_query "
    "transport_taxi transport_ticket transport_traffic "
)

_SNIPS = "BookRestaurant RateBook SearchScreeningEvent"

PUBLIC_INTENTS = {"clinc150": _CLINC150.split(), "hwu64": _HWU64.split(), "snips": _SNIPS.split()}
"""Intents of public English data sets that no home serves: their sentences may train rejection.

Left out is all that Home Assistant serves or that sounds like it: timers, changes of lists, reminders, weather, music,
volume, time and dates, devices, cleaning, greetings, "stop" and "never mind".
"""

_DANGLING = {
    "the",
    "my",
    "our",
    "in",
    "on",
    "to",
    "of",
    "at",
    "for",
    "and",
    "a",
    "an",
    "is",
    "with",
    "by",
    "from",
    "all",
}
ACTIONS = frozenset(
    (
        *("HassTurnOn", "HassTurnOff", "HassLightSet", "HassSetPosition", "HassClimateSetTemperature"),
        *("HassClimateSetFanMode", "HassFanSetSpeed", "HassSetVolume", "HassVacuumStart", "HassVacuumCleanArea"),
        *("HassVacuumReturnToBase", "HassLawnMowerStartMowing", "HassLawnMowerDock", "HassSetVolumeRelative"),
        *("HassMediaPause", "HassMediaUnpause", "HassMediaPlayerMute", "HassMediaPlayerUnmute"),
        *("HassMediaNext", "HassMediaPrevious"),
    )
)
"""Intents that change something at once, where carrying out what is forbidden or tied to a condition is wrong."""
_CONTENTS = ("message", "item", "task", "search_query", "timer_name")


def fragment(lexicon: Lexicon, sentence: str, rng: random.Random, language: str) -> str:
    """A piece that commands nothing: a bare place or thing, a command cut short or noise.

    ``sentence`` is an in-scope sentence to cut.
    """
    words = sentence.split()
    kind = rng.random()
    if kind < 0.25:
        return _place(lexicon, rng, language)
    if kind < 0.5:
        return lexicon.text(rng.choice(_CONTENTS), rng)
    if kind < 0.7 and language == "en":
        cuts = [n for n in range(1, len(words)) if words[n - 1] in _DANGLING]
        if cuts:
            return " ".join(words[: rng.choice(cuts)])
    return noise(sentence, rng)


def _place(lexicon: Lexicon, rng: random.Random, language: str) -> str:
    place = lexicon.text(rng.choice(("area", "floor")), rng)
    if language != "en" or "'s " in place:
        return place
    return rng.choice(("", "the ", "in the ", "my ", "to the ", "and the ")) + place


def noise(sentence: str, rng: random.Random) -> str:
    """Random words from the letters of a sentence, as a cat on the keyboard would type them."""
    letters: Sequence[str] = sorted({letter for letter in sentence if not letter.isspace()}) or "x"
    return " ".join(
        "".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 6)))
    )
