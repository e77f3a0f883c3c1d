"""Speech: what is said in a clip, by its subtitles, or else as Whisper recognises it.

    subtitles (features.media.subtitles)  ->  their cues, and nothing is recognised
    sound, 16 kHz  --Silero VAD-->  pieces with speech  --Whisper, beam search, temperature 0-->  segments

The word on the command line is ``speech=MODEL:language=en``, where MODEL is a Whisper model in CTranslate2's form,
a name on the hub or a directory; ``speech`` alone is ``speech=Systran/faster-whisper-small``; ``speech=subtitles``
recognises nothing and needs no package. A stream is made here if it is called speech, or speech-… or speech_….

A segment counts unless Whisper takes it for no speech (probability of no speech above 0.6 and mean log probability
of its tokens below -1) or it repeats itself (it shrinks by more than 2.4 when compressed). Nothing is sampled, and
no earlier text is looked at: the same sound gives the same words. Weights run in 8 bits.

Whisper: Radford et al., *Robust Speech Recognition via Large-Scale Weak Supervision*, ICML 2023; section 4.5 has
the thresholds. Silero VAD comes with faster-whisper.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.base import Extractor, Words
from features.extractors.pretrained.checkpoint import SUBTITLES, WHISPER, find_checkpoints
from features.extractors.spec import Checkpoint, ExtractorSpec, RunConfig, check_options
from features.files import entry
from features.media import Clip, Cue, SoundNeed, Span, SubtitleNeed

RATE = 16_000
SOUND = SoundNeed(rate=RATE)
MELS = 80  # bands that Whisper hears, up to large-v2
BEAM, NO_SPEECH, LOG_PROBABILITY, COMPRESSION, COMPUTE = 5, 0.6, -1.0, 2.4, "int8"
_NEEDED = ("config.json", "model.bin", "tokenizer.json")


@final
class SpeechExtractor(Extractor):
    """One model for all clips, in the process that holds it."""

    modality = "speech"
    version = 1
    dim = 0
    shared: ClassVar[bool] = True

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Read the options of a resolved spec; the model is loaded later."""
        check_options(spec, ("language",))
        self.spec, self.run, self.language = spec, run, spec.options.get("language", "")
        if self.language and not re.fullmatch("[a-z]{2,3}", self.language):
            raise InputError(f"'{spec}': a language is a code of two or three letters, such as en or de")
        self.recognises = spec.source != SUBTITLES
        self.subtitles = SubtitleNeed(language=self.language)
        self.needs = (self.subtitles, SOUND) if self.recognises else (self.subtitles,)
        if self.recognises:
            (checkpoint,) = spec.checkpoints
            self.model_revision = checkpoint.model, checkpoint.revision
            self.parameters = {"language": self.language, "beam": BEAM, "compute": COMPUTE}

    def load(self) -> None:
        """Load the model now, so that errors in it show before any file is read."""
        if self.recognises:
            _ = self._model

    def extract(self, clips: Sequence[Clip]) -> list[Words | None]:
        """The subtitles of a clip's video, or else what is heard; None where nobody says anything."""
        return [Words.of(self._said(clip)) for clip in clips]

    def _said(self, clip: Clip) -> Sequence[Cue]:
        cues, sound = clip.said.get(self.subtitles), clip.sound.get(SOUND)
        if cues is not None:
            return cues
        return list(self._recognised(sound, clip.span)) if sound is not None and self.recognises else []

    def _recognised(self, sound: NDArray[np.float32], span: Span) -> Iterator[Cue]:
        """What is said in the (N,) samples of a span."""
        from faster_whisper.transcribe import restore_speech_timestamps
        from faster_whisper.vad import get_speech_timestamps

        spoken = get_speech_timestamps(sound)
        if not spoken:
            return
        segments, _ = self._model.transcribe(
            np.concatenate([sound[piece["start"] : piece["end"]] for piece in spoken]),
            language=self.language or None,
            beam_size=BEAM,
            temperature=0.0,
            condition_on_previous_text=False,
            no_speech_threshold=NO_SPEECH,
            log_prob_threshold=LOG_PROBABILITY,
        )
        for segment in restore_speech_timestamps(segments, spoken, RATE):
            silent = segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LOG_PROBABILITY
            if not silent and segment.compression_ratio <= COMPRESSION:
                yield span.start_s + segment.start, min(span.start_s + segment.end, span.end_s), segment.text

    @cached_property
    def _model(self) -> Any:
        """A faster_whisper.WhisperModel of the files that it needs, and of no others in their folder."""
        from faster_whisper import WhisperModel
        from faster_whisper.feature_extractor import FeatureExtractor

        folder = self.spec.checkpoints[0].path
        there = os.listdir(folder) if folder.is_dir() else []
        names = [name for name in there for pattern in WHISPER if fnmatch(name, pattern)]
        if lacking := [name for name in _NEEDED if name not in names]:
            raise InputError(_no_model(folder, f"it has no {lacking[0]}"))
        with TemporaryDirectory(prefix="mee-") as view:
            for name in names:
                (Path(view) / name).symlink_to(entry(folder, name).absolute())
            try:
                model = WhisperModel(view, device=self.run.device, compute_type=COMPUTE, local_files_only=True)
                if model.model.n_mels != MELS:
                    model.feature_extractor = FeatureExtractor(feature_size=model.model.n_mels)
                languages = model.supported_languages
            except Exception as error:  # whatever a damaged file raises
                raise InputError(_no_model(folder, " ".join(str(error).split()))) from error
        if self.language and self.language not in languages:
            known = ", ".join(languages) if len(languages) < 2 else f"{len(languages)}, such as en, de and zh"
            raise InputError(f"'{self.spec}': this model knows no language '{self.language}'; it knows {known}")
        return model


def is_speech(stream: str) -> bool:
    """Whether a stream of this name, with a model, is made here."""
    return re.split("[-_]", stream, maxsplit=1)[0] == "speech"


def find_recogniser(source: str, revision: str | None) -> tuple[Checkpoint, ...]:
    """The files of a word's model; raises InputError where faster-whisper is not installed."""
    if source != SUBTITLES and find_spec("faster_whisper") is None:
        raise InputError(
            "to recognise speech the package faster-whisper is needed: pip install 'mee[speech]'; without it, "
            "speech=subtitles reads subtitles only"
        )
    return find_checkpoints(source, revision, WHISPER)


def _no_model(folder: Path, reason: str) -> str:
    return (
        f"'{folder}' is no Whisper model in CTranslate2's form ({reason:.200}); name one of the hub, such as "
        "speech=Systran/faster-whisper-small, or convert yours with ct2-transformers-converter"
    )
