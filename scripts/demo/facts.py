from dataclasses import dataclass
@dataclass(frozen=True, kw_only=True)
class Face:
    glasses: bool
    beard: str
    hat: bool
    smiling: bool
