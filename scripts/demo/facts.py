"""What can be true of a demo clip: the values of each fact, and Facts, one value of each.

    clip = object (shape x colour x texture, on a background) x motion x sound x face

Facts are drawn independently of one another, so no expert can guess what another one sees.
"""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("square", "triangle", "star", "heart", "ring")
COLOURS = ("red", "yellow", "green", "turquoise", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "checked")
BACKGROUNDS = ("white", "grey", "black", "grass", "brick", "wood")
MOTIONS = (
    *(f"{way} {speed}" for way in ("left", "right", "up", "down") for speed in ("slow", "fast")),
    *("spin clockwise", "spin anticlockwise", "circle clockwise", "circle anticlockwise"),
    *("grow", "shrink", "bounce", "shake", "swing", "still"),
)
SOUNDS = (
    *(f"beeps {pitch} {rate}" for pitch in ("low", "high") for rate in ("slow", "fast")),
    *("tone low", "tone high", "whistle rising", "whistle falling", "siren", "bell", "hiss", "rumble"),
    *("drum slow", "drum fast", "clicks slow", "clicks fast"),
)
BEARDS = ("shaven", "moustache", "beard")
FORMS = ("mp4", "webm", "png", "jpg", "webp")
IMAGE_FORMS = ("png", "jpg", "webp")
NONE = "none"

# Which modality shows which fact.
ASPECTS = {
    "appearance": ("shape", "colour", "texture", "background"),
    "motion": ("motion",),
    "audio": ("sound",),
    "face": ("face", "glasses", "beard", "hat"),
}

_HARD_TO_SEE = frozenset({("green", "grass"), ("red", "brick"), ("yellow", "wood")})


@dataclass(frozen=True, kw_only=True)
class Face:
    """What a person in a clip looks like. Skin, hair and clothes go with it, but no caption tells them."""

    glasses: bool
    beard: str
    hat: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that captions may say of one clip."""

    shape: str
    colour: str
    texture: str
    background: str
    motion: str | None  # None: a still image
    sound: str | None  # None: no sound track
    face: Face | None

    def values(self) -> dict[str, str]:
        """Fact name -> value. An image stands still and is silent; without a face no face fact is there."""
        values = {
            "shape": self.shape,
            "colour": self.colour,
            "texture": self.texture,
            "background": self.background,
            "motion": self.motion or "still",
            "sound": self.sound or NONE,
        }
        if self.face:
            values |= {
                "face": "yes",
                "glasses": "yes" if self.face.glasses else "no",
                "beard": self.face.beard,
                "hat": "yes" if self.face.hat else "no",
            }
        return values

    @property
    def modalities(self) -> tuple[str, ...]:
        """The streams that the clip's file has."""
        here = {"motion": self.motion, "audio": self.sound, "face": self.face}
        return tuple(name for name in ASPECTS if name == "appearance" or here[name] is not None)

    @property
    def visible(self) -> bool:
        """Whether the object stands out from its background, and its turning can be seen."""
        turns_alike = self.shape == "ring" and self.texture == "plain"
        spins = self.motion is not None and self.motion.startswith("spin")
        return (self.colour, self.background) not in _HARD_TO_SEE and not (turns_alike and spins)


@dataclass(frozen=True, kw_only=True)
class DemoClip:
    """One file of the world."""

    name: str  # of the file, which is its video id
    split: str  # train, val or test
    form: str  # one of FORMS
    facts: Facts
    seed: int  # of what no caption tells: exact hue, place, pitch, hair ...
