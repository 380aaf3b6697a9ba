"""Does this machine make the pixels and embeddings that it should? What ``featstore doctor --selftest`` runs.

A made-up image goes the whole way of an extraction, from a file to crops as an encoder takes them. Those are to be the
ones that the reference machine made, bit for bit. On another kind of processor, or with another version of OpenCV, one
colour in a hundred may be rounded to the next level: then the crops are compared where `SAMPLES` were taken.

When the pixels were changed on purpose, and the version in their settings has risen, this prints the new constants::

    python -c "from featstore.extract.selftest import renewed; print(renewed())"

The tests have one more digest, which is renewed likewise; it says there how.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from typing import Any

import numpy as np

from featstore.dataset.opencv import opencv
from featstore.encoders import load_encoder
from featstore.errors import FeatstoreError, MissingExtraError
from featstore.extract.made_up import Crops, Pixels, make_crops

__all__ = [
    "GOLDEN",
    "REFERENCE",
    "SAMPLES",
    "check_embeddings",
    "check_pixels",
    "digest_of",
    "environment",
    "renewed",
    "sampled",
]

REPEATS = range(5)

GOLDEN = "588fbcafb06b708405b88c297b571075af1332402fbbdf105e1ae2e4cc040b52"
"""SHA-256 of all the crops. If it changes on the machine that it was taken on, stores that exist can't be continued:
`AugmentationSettings.version` or `CropSettings.version` must rise, or better, undo it."""

REFERENCE = (
    "OpenCV 5.0.0, Linux x86_64, ippIP AVX-512F/CD/BW/DQ/VL (k0) 2026.0.0 (-) Mar 27 2026, SSE SSE2 SSE3 "
    "*SSE4.1 *SSE4.2 *AVX *FP16 *AVX2 *AVX512-SKX"
)
"""The `environment` that they were taken in."""

SAMPLES = (
    "fPjFSm8_PRq=0~coQSfOjH!Ktmzs&7T~d#cf~S#!p*})wfPjFPbE=$hr+|QfcXNC=Ic~IPp?7nAw{EeMdY`UyqOxY3y<n=jW2cpJ"
    "o3m}5cXNEtQKzM1nRj!3dx3;=cAs%untgtQrhvz&dcvi8x1W8jpmNBVdbyKVv9V{ueSd*ZB9oG5vwwbqaddOCg{P*4uXA>Ew}+vy"
    "gr|UjfU<_Syn3FMf}gK>rn-2wb98i>ZI{Yor*m|4gOZKEWwf($zJ-yEmw}|XWU{A(x6o?HwTZ8~gtoAby|#tLg^!P}nzzM_!Gx2H"
    "fPjE^KZKu@nt*_SWJ7(8n3Q%pfv$(3v4N;*J$;^wnp;D0fPjFhfudMIa)5w<eT#szgP}`Oa({_|mz9&CkeQ>7n^0SLhoX+3iJGW>"
    "oUwhOevN=oMsJR0k9>@PihqesSZ=w9rip-tM^$r`ftjj{pQ?|awtl9&d#bR1rJs+Oi++fhWR_e=bc=$Ag?)j_aKgQLx`cjzz<0xJ"
    "ONM%TgU@utUrB?HnUQ~3ky1%_f`5KnPJCWVeujR6Z**~WU3*zKXlQVBPB>v#F>io?fK@eXOf_DAfr(l!Y?p42ZgOx$Fkz2xh-`Ir"
    "fPjFac%G$#pMZdX+FQC*HFCIXsH1hAyJoC7D`U}HwYF)dfPjFSb(*bfqJV&ahIxiROmC%ktA=`kt8lBjYqeH8demai!eqhEUB+Z9"
    "gt>3Kfqa6xX1tzxtBQPehJkjTeUYnfnudjUn1hS7Z=X~*bHrY-y=bJ?UcRbvpS@?Ig@tlWGiRN1mxhXPcy^4dYN)trt#^2brfsBv"
    "fPkrMq?K`-q;jd2YoN?ov$JBid~}PmXr(qZX?$;obajWhS)RUDns#@BzhR+eD0I+Oq0v*K#8{-RUz@dHn$20Ec65fEXO~$pcy@b+"
)
"""Sixteen pixels of each crop, in base 85."""

SAME_PIXELS = 0.5
"""Mean difference in levels, in the crop that differs most, up to which crops are the same but for rounding.

Seen in `SAMPLES`: up to 0.1 with other instructions of an x86 processor, and with OpenCV 4.10 to 4.13. Leaving out a
step of the augmentation makes 0.7 or more. 2% more noise make less than 0.2: only the digest shows that."""

_SAMPLED = slice(28, None, 56)
_NUMBERS_A_CROP = 4 * 4 * 3


def check_pixels() -> dict[str, Any]:
    """Compare the crops of a made-up image with those of the reference machine.

    Returns
    -------
    dict
        ``check``, ``ok``, ``detail``; and ``warning``, true if the crops are the same only but for rounding, or were
        not checked.
    """
    try:
        crops = make_crops(REPEATS)
    except MissingExtraError as error:
        return _row("pixels", True, f"not checked: {error}", warning=True)
    except Exception as error:  # noqa: BLE001 - whatever breaks is what a self-test is to tell
        return _row("pixels", False, f"no crops were made: {_told(error)}")
    return _compared(digest_of(crops), sampled(crops))


def _compared(digest: str, found: Pixels) -> dict[str, Any]:
    if digest == GOLDEN:
        return _row("pixels", True, "bit for bit those of the reference machine")
    expected = np.frombuffer(base64.b85decode(SAMPLES), dtype=np.uint8)
    if len(found) != len(expected):
        return _row("pixels", False, "not the crops of the reference machine: other blobs were found")
    away = np.abs(found.astype(int) - expected)
    worst = away.reshape(-1, _NUMBERS_A_CROP).mean(axis=1).max()
    agree = (
        f"samples are at most {away.max()} of 255 levels apart, {worst:.2f} on average in the crop that differs most"
    )
    if worst > SAME_PIXELS:
        detail = (
            f"not those of the reference machine ({agree}): stores that were made elsewhere must not be continued here"
        )
        return _row("pixels", False, detail)
    why = "though OpenCV and processor are" if environment() == REFERENCE else "since OpenCV or processor are not"
    detail = f"rounded otherwise than on the reference machine, {why} of its kind ({agree})"
    return _row("pixels", True, f"{detail}: embeddings will be near those made elsewhere, not equal", warning=True)


def check_embeddings() -> dict[str, Any]:
    """Embed a few crops twice with ``stain-texture``: the same numbers both times, and finite ones.

    Returns
    -------
    dict
        ``check``, ``ok``, ``detail``; and ``warning``, true if they were not checked.
    """
    try:
        crops = list(make_crops(range(2)).values())
        encoder = load_encoder("stain-texture")
        once, again = encoder.encode(crops), encoder.encode(crops[::-1])[::-1]
    except MissingExtraError as error:
        return _row("embeddings", True, f"not checked: {error}", warning=True)
    except Exception as error:  # noqa: BLE001 - as above
        return _row("embeddings", False, f"stain-texture gave none: {_told(error)}")
    if not np.isfinite(once).all() or not np.array_equal(once, again):
        return _row("embeddings", False, "stain-texture gives other numbers the second time, or none at all")
    return _row("embeddings", True, f"{len(once)} crops by stain-texture, twice the same")


def _row(check: str, ok: bool, detail: str, **more: bool) -> dict[str, Any]:
    return {"check": check, "ok": ok, "detail": detail, **more}


def _told(error: Exception) -> str:
    """Tell of an error; one that featstore did not raise by its kind as well."""
    return str(error) if isinstance(error, FeatstoreError) else f"{type(error).__name__}: {error}".strip()


def environment() -> str:
    """Tell what decides how colours are rounded: OpenCV, the machine, and the instructions that OpenCV picks there.

    Raises
    ------
    MissingExtraError
        If OpenCV is not installed.
    """
    cv2 = opencv()
    ipp = cv2.ipp.getIppVersion() if cv2.ipp.useIPP() else "no IPP"
    machine = f"{platform.system()} {platform.machine()}"
    return f"OpenCV {cv2.__version__}, {machine}, {ipp}, {cv2.getCPUFeaturesLine()}"


def renewed() -> str:
    """Write `GOLDEN`, `REFERENCE` and `SAMPLES` as they are on this machine, in Python."""
    crops = make_crops(REPEATS)
    samples = base64.b85encode(sampled(crops).tobytes()).decode()
    parts = (("GOLDEN", digest_of(crops)), ("REFERENCE", environment()), ("SAMPLES", samples))
    return "\n".join(line for name, text in parts for line in _written(name, text))


def _written(name: str, text: str) -> list[str]:
    pieces = [text[start : start + 100] for start in range(0, len(text), 100)]
    if len(pieces) == 1:
        return [f'{name} = "{text}"']
    return [f"{name} = (", *(f'    "{piece}"' for piece in pieces), ")"]


def digest_of(crops: Crops) -> str:
    """SHA-256 of crops and their keys, in the order of the keys."""
    digest = hashlib.sha256()
    for (blob, repeat), crop in sorted(crops.items(), key=lambda item: item[0]):
        digest.update(f"{blob},{repeat},{crop.shape};".encode() + crop.tobytes())
    return digest.hexdigest()


def sampled(crops: Crops) -> Pixels:
    """Take sixteen pixels of each crop, in the order of the keys."""
    return np.concatenate([crops[key][_SAMPLED, _SAMPLED].ravel() for key in sorted(crops)])
