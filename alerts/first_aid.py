"""What whoever is low can do at once: one advice for every notice of a low, of a meter or a sensor.

15 to 20 g of fast sugar, measured again after 15 min, and once more if still low: ADA Standards of Care, section 6,
and CDS 2024. That is 150 to 200 ml of fruit juice (1 g in 10 ml: consensus on first aid, AHA and ILCOR 2015), or
3 to 4 sugar cubes of 4 to 5 g. Acarbose keeps table sugar from being taken up, so whoever takes it needs glucose
(Diabetes Canada 2018, chapter 14). Below 54 mg/dL (3.0 mmol/L) somebody may soon be unable to help themselves, so the
advice says whom to call; who is unconscious is given nothing by mouth. The emergency number is 120 in China.
"""

from __future__ import annotations

from typing import Final

from alerts.alert import Text

FOR_STAFF: Final = Text(
    en=" Usual first help: 15 to 20 g of fast sugar, and a look again after 15 min (ADA, CDS).",
    zh="通常先补速效糖 15 至 20 克，15 分钟后复查（ADA、CDS）。",
)
_SUGAR: Final = Text(
    en="15 to 20 g of fast sugar (half a glass of juice, 150 ml, or 3 to 4 sugar cubes; with acarbose: glucose)",
    zh="速效糖 15 至 20 克（如果汁半杯 150 ml，或方糖 3 至 4 块；服用阿卡波糖者须用葡萄糖）",
)
_REPEAT: Final = Text(en="; if it is still low, do so again.", zh="；如仍偏低，请再次补糖。")
_CALL: Final = Text(
    en="; if it is not better, do so again and call for help. Do not stay alone. Who is drowsy or unconscious gets "
    "nothing by mouth: call the emergency number (120 in China) at once.",
    zh="；如未好转，请再次补糖并呼救。请勿独处。如嗜睡或意识不清，切勿喂食，请他人立即拨打急救电话（中国大陆 120）。",
)


def advice(*, very_low: bool, minutes: float = 15) -> Text:
    """For a value of now; minutes: after which to measure again."""
    then = _CALL if very_low else _REPEAT
    return Text(
        en=f" Please eat or drink {_SUGAR.en} now and measure again in {minutes:g} min{then.en}",
        zh=f"请立即进食{_SUGAR.zh}，{minutes:g} 分钟后复测{then.zh}",
    )


def advice_late(*, very_low: bool) -> Text:
    """For a value that came late: nobody knows whether it is still so."""
    then = _CALL if very_low else _REPEAT
    return Text(
        en=f" Please measure by finger now, and eat or drink {_SUGAR.en} if you are still low or feel "
        f"unwell; measure again in 15 min{then.en}",
        zh=f"请现在测指尖血糖；如仍偏低或有不适，请立即进食{_SUGAR.zh}，15 分钟后复测{then.zh}",
    )


def advice_doubted() -> Text:
    """For a value of now that is very low and that the meter itself doubts: the next one says, and comes first."""
    then = advice_asked()
    return Text(en=f" Please measure again now.{then.en}", zh=f"请立即复测。{then.zh}")


def advice_asked() -> Text:
    """The same, where a sentence before it has asked for the next one."""
    return Text(
        en=f" If you are still low or feel unwell, or cannot measure at once, eat or drink {_SUGAR.en}, and measure "
        f"again in 15 min{_CALL.en}",
        zh=f"如仍偏低或有不适，或无法立即复测，请进食{_SUGAR.zh}，15 分钟后再测{_CALL.zh}",
    )


def advice_ahead(*, very_low: bool) -> Text:
    """For a low that is only expected: 10 to 15 g turn a fall, and most such warnings come to nothing."""
    if very_low:
        return Text(
            en=" Please have sugar at hand and do not drive; if your glucose still falls or you feel low, take 10 to "
            "15 g now (2 to 3 sugar cubes), and look again in 15 min.",
            zh="请备好糖，勿驾车；如血糖仍在下降或有低血糖感觉，请立即补糖 10 至 15 克（方糖 2 至 3 块），"
            "15 分钟后再看读数。",
        )
    return Text(
        en=" Please have sugar at hand and look again in 15 min; if you feel low, take 10 to 15 g (2 to 3 sugar "
        "cubes).",
        zh="请备好糖，15 分钟后再看读数；如有低血糖感觉，请补糖 10 至 15 克（方糖 2 至 3 块）。",
    )
