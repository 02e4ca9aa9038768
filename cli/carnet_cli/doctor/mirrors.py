"""The checks `mirror`, `clock` and `expiry`: whether trusted mirrors answer, what time they have, when they end."""

from __future__ import annotations

from datetime import timedelta

from carnet import times
from carnet.errors import CarnetError
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient, worst
from carnet_cli.doctor.seen import SeenMirror

_SLOW = timedelta(minutes=5)
_WRONG = timedelta(hours=1)
_PEOPLES = ("root", "targets")
"""Roles that people sign; the mirror itself signs the others again, daily and weekly."""


def look_at_mirrors(patient: Patient) -> Diagnosis:
    """Whether each trusted mirror answers, and with what its root vouches for."""
    if isinstance(patient.mirrors, CarnetError):
        hint = "" if patient.mirrors is patient.network else patient.mirrors.hint
        summary = f"the trusted mirrors were not asked: {patient.mirrors}"
        return Diagnosis(MIRROR.name, Health.WARNING, summary, advice=hint, facts={"mirrors": []})
    facts = {
        "mirrors": [
            {
                "url": one.url,
                "milliseconds": round(1000 * one.seconds),
                "error": None if one.error is None else str(one.error),
            }
            for one in patient.mirrors
        ]
    }
    if not patient.mirrors:
        advice = "`carnet trust add URL --root root.json`, with the root file that you got safely"
        return Diagnosis(MIRROR.name, Health.WARNING, "no repository is trusted yet", (), advice, facts)
    details = tuple(map(_came_of, patient.mirrors))
    failed = [one for one in patient.mirrors if one.error is not None]
    if not failed:
        return Diagnosis(MIRROR.name, Health.GOOD, "the trusted mirrors answer", details, facts=facts)
    hint = next((one.error.hint for one in failed if one.error is not None and one.error.hint), "")
    summary = f"{len(failed)} of {len(patient.mirrors)} trusted mirrors cannot be verified"
    return Diagnosis(MIRROR.name, Health.FAILURE, summary, details, hint, facts)


def _came_of(mirror: SeenMirror) -> str:
    """One line, which begins with the mirror's address."""
    said = f"verified within {1000 * mirror.seconds:.0f} ms" if mirror.error is None else str(mirror.error)
    return said if said.startswith(mirror.url) else f"{mirror.url}: {said}"


def look_at_clock(patient: Patient) -> Diagnosis:
    """Whether this machine's clock is that of the mirrors: what is fresh, and what has ended, hangs on it."""
    mirrors = () if isinstance(patient.mirrors, CarnetError) else patient.mirrors
    known = [(one.url, one.ahead) for one in mirrors if one.ahead is not None]
    facts = {"clocks": [{"url": url, "ahead_seconds": round(ahead.total_seconds())} for url, ahead in known]}
    if not known:
        summary = f"it is {patient.now:%Y-%m-%d %H:%M} UTC here; no mirror says what time it has"
        return Diagnosis(CLOCK.name, Health.GOOD if not mirrors else Health.WARNING, summary, facts=facts)
    url, ahead = max(known, key=lambda pair: abs(pair[1]))
    if abs(ahead) <= _SLOW:
        return Diagnosis(CLOCK.name, Health.GOOD, "this machine and the mirrors have the same time", facts=facts)
    return Diagnosis(
        CLOCK.name,
        Health.FAILURE if abs(ahead) >= _WRONG else Health.WARNING,
        f"this machine's clock is {_words(abs(ahead))} {'behind' if ahead > timedelta(0) else 'ahead of'} {url}",
        (f"it is {patient.now:%Y-%m-%d %H:%M} UTC here",),
        "set this machine's clock if it is wrong (`date -u`), or tell the mirror's operator",
        facts,
    )


def look_at_expiry(patient: Patient) -> Diagnosis:
    """What of the trusted mirrors ends soon, or has ended."""
    mirrors = () if isinstance(patient.mirrors, CarnetError) else patient.mirrors
    seen = [(one.url, role, ends) for one in mirrors for role, ends in one.ends]
    facts = {"expiry": [{"url": url, "role": role, "expires": times.written(ends)} for url, role, ends in seen]}
    ended = [f"{url}: {role} ended on {ends:%Y-%m-%d}" for url, role, ends in seen if ends <= patient.now]
    soon = [
        f"{url}: {role} ends on {ends:%Y-%m-%d}"
        for url, role, ends in seen
        if role in _PEOPLES and patient.now < ends < patient.now + patient.warn_before
    ]
    if not seen:
        return Diagnosis(EXPIRY.name, Health.GOOD, "no mirror was verified, whose roles could end", facts=facts)
    if not (ended or soon):
        first = min(ends for _, _, ends in seen)
        return Diagnosis(EXPIRY.name, Health.GOOD, f"nothing ends before {first:%Y-%m-%d %H:%M} UTC", facts=facts)
    return Diagnosis(
        EXPIRY.name,
        worst([Health.FAILURE] * bool(ended) + [Health.WARNING]),
        "what the mirrors' holders signed has ended" if ended else "what the mirrors' holders signed ends soon",
        (*ended, *soon),
        "tell the mirror's operator: its holders have to sign again",
        facts,
    )


def _words(span: timedelta) -> str:
    hours, seconds = divmod(int(span.total_seconds()), 3600)
    return f"{hours} h {seconds // 60} min" if hours else f"{seconds // 60} min"


MIRROR = Check("mirror", look_at_mirrors)
CLOCK = Check("clock", look_at_clock)
EXPIRY = Check("expiry", look_at_expiry)
