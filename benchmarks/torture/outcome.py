"""What came of an attack."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What came of one attack.

    Args:
        attack: What was done, in a few words.
        promise: What must hold.
        tried: How often it was tried.
        broken: What did not hold, one text for each time.
        notes: Numbers worth knowing, such as how many writes were acknowledged.
    """

    attack: str
    promise: str
    tried: int = 0
    broken: list[str] = field(default_factory=list)
    notes: str = ""

    @property
    def held(self) -> int:
        """How often the promise held."""
        return self.tried - len(self.broken)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Count one try."""
        self.tried += 1
        if not holds:
            self.broken.append(otherwise)


def markdown(outcomes: list[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    lines = ["| attack | what must hold | tried | held | notes |", "|---|---|---|---|---|"]
    lines += [f"| {o.attack} | {o.promise} | {o.tried:,} | {o.held:,} | {o.notes} |" for o in outcomes]
    return "\n".join(lines)
