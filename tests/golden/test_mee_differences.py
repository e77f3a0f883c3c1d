"""Where our model does otherwise than the published network, both behaviours side by side."""

import pytest
import torch

from mee.reference_weights import STREAMS
from mee.scoring import mee_scores
from mee.streams import Ragged, Streams
from mee.training.losses import MaxMarginLoss

EXACT = {"atol": 1e-10, "rtol": 1e-9}
NEGATIVE = ~torch.eye(10, dtype=torch.bool)


def scores_of(model, case, *, as_reference):
    text = model.encode_text(case.sentences(as_reference=as_reference))
    video = model.encode_video(case.clips(as_reference=as_reference))
    return mee_scores(text.packed, video.packed, text.logits, case.available, model.layout)


def row(streams, number):
    """One stream alone, without its padding."""
    length = int(streams.lengths[number])
    return Streams(streams.padded[number : number + 1, : max(1, length)], streams.lengths[number : number + 1])


@torch.no_grad()
@pytest.mark.parametrize("name", ["full", "missing"])
def test_in_eval_mode_absent_streams_make_no_difference(make_model, make_case, name):
    """Without padding our own reading gives the reference's scores: it ignores what it read in absent slots, and
    we read nothing there."""
    case, model = make_case(name), make_model()
    torch.testing.assert_close(scores_of(model, case, as_reference=False), case["eval.conf"], **EXACT)
    clips = case.clips(as_reference=False)
    absent = {name: Streams(s.padded.masked_fill((s.lengths == 0)[:, None, None], torch.nan), s.lengths)
              for name, s in clips.items()}  # fmt: skip
    assert model.encode_video(absent).packed.equal(model.encode_video(clips).packed)


@torch.no_grad()
@pytest.mark.parametrize("name", ["padded", "missing_padded"])
def test_padding_counts_for_the_reference_and_not_for_us(make_model, make_case, name):
    """The reference pools zeros as if they were words and sounds, so that a sentence's vector depends on the
    longest sentence beside it. Ours is that of the sentence alone; where nothing is padded both agree."""
    case, model = make_case(name), make_model()
    sentences, clips = case.sentences(as_reference=False), case.clips(as_reference=False)
    text, video = model.encode_text(sentences), model.encode_video(clips)
    own = mee_scores(text.packed, video.packed, text.logits, case.available, model.layout)
    for number in range(10):
        alone = model.encode_text({tower: row(streams, number) for tower, streams in sentences.items()})
        torch.testing.assert_close(text.packed[[number]], alone.packed, **EXACT)
        torch.testing.assert_close(text.logits[[number]], alone.logits, **EXACT)
        clip = model.encode_video({modality: row(streams, number) for modality, streams in clips.items()})
        torch.testing.assert_close(video.packed[[number]], clip.packed, **EXACT)
    whole = [number for number, length in enumerate(case.figures["text_lengths"]) if length == 7]
    silent_or_whole = [
        number
        for number, length in enumerate(case.figures["audio_lengths"])
        if length == 6 or not case.available[number, STREAMS.index("audio")]
    ]
    theirs = case["eval.conf"]
    torch.testing.assert_close(own[whole][:, silent_or_whole], theirs[whole][:, silent_or_whole], **EXACT)
    assert len(whole) == 2
    assert (own - theirs).abs().max() > 0.05
    torch.testing.assert_close(scores_of(model, case, as_reference=True), theirs, **EXACT)


@pytest.mark.parametrize("modality", STREAMS)
def test_absent_rows_move_the_references_batch_statistics_and_not_ours(make_model, make_case, modality):
    """The reference feeds zeros for an absent stream through its gated unit in training too, so that its batch
    norm learns how often a stream is missing. Ours takes mean and variance over the clips that have the stream."""
    case, model = make_case("missing"), make_model().train()
    name = f"train.buffer_after.mee.video_GU.{STREAMS.index(modality)}.cg.batch_norm"
    expert, clips = model.expert(modality), case.clips(as_reference=False)
    before = {buffer: tensor.clone() for buffer, tensor in expert.unit.norm.named_buffers()}
    gates = []
    expert.unit.gate.register_forward_hook(lambda _module, _inputs, out: gates.append(out.detach()))
    model.encode_video(clips)
    present = clips[modality].available
    assert len(gates[0]) == present.sum() < 10
    for buffer, now in (("running_mean", gates[0].mean(0)), ("running_var", gates[0].var(0))):
        after = getattr(expert.unit.norm, buffer)
        torch.testing.assert_close(after, 0.9 * before[buffer] + 0.1 * now, **EXACT)
        assert (after - case[f"{name}.{buffer}"]).abs().max() > 1e-5


def test_a_clip_without_any_stream_is_refused_and_named_where_the_reference_gives_nan(
    make_model, make_case, figures
):
    """The reference divides 0 by 0: its NaN column silently falls out of the ranks. Ours has no such score, and a
    gallery leaves the clip out by name."""
    case, model = make_case("full"), make_model()
    fact = figures["no_modality_item"]
    available = case.available.clone()
    available[fact["item"]] = False
    text = model.encode_text(case.sentences(as_reference=True))
    video = model.encode_video(case.clips(as_reference=True))
    by_hand = text.logits.softmax(1)[:, None] * available
    by_hand = by_hand / by_hand.sum(-1, keepdim=True)
    nan = by_hand.sum(-1).isnan()
    assert nan.any(0).nonzero().flatten().tolist() == fact["nan_columns"]
    assert int(nan.sum()) == fact["nan_count"]
    with pytest.raises(ValueError, match="a clip without any stream has no score"):
        mee_scores(text.packed, video.packed, text.logits, available, model.layout)
    clips = {
        modality: Ragged.of(
            [None if number == fact["item"] else stream[:length] for number, (stream, length) in
             enumerate(zip(streams.padded.float(), streams.lengths.tolist()))],
            torch.empty(0, streams.padded.shape[2]),
        )
        for modality, streams in case.clips(as_reference=True).items()
    }  # fmt: skip
    gallery = make_model(torch.float32).encode_video(
        {modality: ragged.all() for modality, ragged in clips.items()}
    )
    assert (~gallery.available.any(1)).nonzero().flatten().tolist() == [3]
    assert gallery.packed.isfinite().all()


@torch.no_grad()
def test_the_order_of_a_dict_changes_the_references_scores_and_not_ours(make_model, make_case, figures):
    """Their mixture's columns follow the insertion order of a dict made in the forward pass: the same weights fed
    a dict in the declared order move scores by 0.21. Our M axis is a setting of the model."""
    case, model = make_case("missing"), make_model()
    scores = scores_of(model, case, as_reference=True)
    turned = dict(reversed(case.clips(as_reference=True).items()))
    video = model.encode_video(turned)
    text = model.encode_text(case.sentences(as_reference=True))
    assert mee_scores(text.packed, video.packed, text.logits, case.available, model.layout).equal(scores)
    wrong = scores_of(make_model(columns=STREAMS), case, as_reference=True)
    expected = figures["dict_order_effect"]["max_abs_score_change_when_video_dict_is_passed_in_declaration_order"]
    assert float((wrong - scores).abs().max()) == pytest.approx(expected, rel=1e-9)


def test_inputs_are_left_as_they_were(make_model, make_case, figures):
    """The reference's forward pass overwrites the caller's dict with transposed embeddings."""
    fact = figures["mutation"]
    assert fact["video_dict_entry_shape_after_conf_True"] != fact["input_shape"]
    case, model = make_case("missing_padded"), make_model().train()
    given = {**case.clips(as_reference=False), **case.sentences(as_reference=False)}
    copies = {name: (streams, streams.padded.clone(), streams.lengths.clone()) for name, streams in given.items()}
    video = model.encode_video(given)
    text = model.encode_text({"": given[""]})
    scores = mee_scores(text.packed, video.packed, text.logits, video.available, model.layout)
    MaxMarginLoss(0.2)(scores, NEGATIVE).backward()
    assert list(given) == list(copies)
    for name, (streams, padded, lengths) in copies.items():
        assert given[name] is streams
        assert streams.padded.equal(padded)
        assert streams.lengths.equal(lengths)


def test_a_batch_of_one_trains_where_the_reference_raises(make_model, make_case):
    """One row has no variance: their batch norm raises. Ours norms it by the running statistics, and leaves
    them."""
    case, model = make_case("full"), make_model().train()
    model.text_encoder.eval()  # the pooling over words has seven rows, and norms them as ever
    model.expert("audio").pool.eval()
    one = {modality: row(streams, 4) for modality, streams in case.clips(as_reference=True).items()}
    text = model.encode_text({"": row(case.sentences(as_reference=True)[""], 4)})
    video = model.encode_video(one)
    scores = mee_scores(text.packed, video.packed, text.logits, video.available, model.layout)
    torch.testing.assert_close(scores, case["eval.conf"][4:5, 4:5], **EXACT)
    scores.sum().backward()
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad.isfinite().all() for parameter in learns)
    expected = dict(make_model().named_buffers())
    assert all(buffer.equal(expected[name]) for name, buffer in model.named_buffers())
