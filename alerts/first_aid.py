"""What whoever is low can do at once: one advice for every notice of a low, of a meter or a sensor.

15 to 20 g of fast sugar, measured again after 15 min, and once more if still low: ADA Standards of Care, section 6,
and CDS 2024. Below 54 mg/dL (3.0 mmol/L) somebody may soon be unable to help themselves, so the advice says whom to
call; who is unconscious is given nothing by mouth. The emergency number is 120 in China.
"""

from __future__ import annotations

from typing import Final

from alerts.alert import Text

FOR_STAFF: Final = Text(
    en=" Usual first help: 15 to 20 g of fast sugar, and a look again after 15 min (ADA, CDS).",
    zh="通常先补速效糖 15 至 20 克，15 分钟后复查（ADA、CDS）。",
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
        en=f" Please eat or drink 15 to 20 g of fast sugar now and measure again in {minutes:g} min{then.en}",
        zh=f"请立即进食速效糖 15 至 20 克，{minutes:g} 分钟后复测{then.zh}",
    )


def advice_late(*, very_low: bool) -> Text:
    """For a value that came late: nobody knows whether it is still so."""
    then = _CALL if very_low else _REPEAT
    return Text(
        en=" Please measure by finger now, and eat or drink 15 to 20 g of fast sugar if you are still low or feel "
        f"unwell; measure again in 15 min{then.en}",
        zh=f"请现在测指尖血糖；如仍偏低或有不适，请立即进食速效糖 15 至 20 克，15 分钟后复测{then.zh}",
    )
