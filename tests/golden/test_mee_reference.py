"""Our model with the published network's weights gives the published network's numbers.

The reference masks no padding and lets absent streams, which it reads as zeros, into the batch statistics; it
takes the availability into account when it scores. Our components do the same when told so: every stream and every
token is passed off as there (`as_reference`), and scoring gets the true availability. Where ours does otherwise of
its own accord, see test_mee_differences.py.
"""

import pytest
import torch

from mee.reference_weights import COLUMNS, STREAMS, mixture_order, our_names, translate
from mee.scoring import mee_scores, mixture_weights
from mee.training.config import TrainConfig
from mee.training.losses import MaxMarginLoss
from mee.training.trainer import make_optimiser

CASES = ("full", "missing", "padded", "missing_padded")
MODES = ("eval", "train")
EXACT = {"atol": 1e-10, "rtol": 1e-9}
ROUNDED = {"atol": 5e-6, "rtol": 0.0, "check_dtype": False}
THEIRS = {"face": "face", "audio": "audio", "appearance": "visual", "motion": "motion"}
NEGATIVE = ~torch.eye(10, dtype=torch.bool)
NAMES = our_names(4, STREAMS.index("audio"), (4, 5))


def by_our_names(tensors):
    return translate(tensors, NAMES, mixture_order(STREAMS, COLUMNS))


def embed(model, case):
    """Text and video embeddings, and the pooled text and sound on the way, in one pass."""
    pooled = {}
    hooks = [
        pool.register_forward_hook(lambda _m, _i, out, name=name: pooled.update({name: out}))
        for name, pool in (("text_pooled", model.text_encoder.pool), ("audio_pooled", model.expert("audio").pool))
    ]
    text = model.encode_text(case.sentences(as_reference=True))
    video = model.encode_video(case.clips(as_reference=True))
    for hook in hooks:
        hook.remove()
    return text, video, pooled


def all_scores(model, case, text, video):
    return mee_scores(text.packed, video.packed, text.logits, case.available, model.layout)


def our_outputs(model, case):
    """What the reference network put out, under its names."""
    text, video, found = embed(model, case)
    for modality, columns in zip(model.modalities, model.layout.slices):
        found[f"text_emb.{THEIRS[modality]}"] = text.packed[:, columns]
        found[f"video_emb.{THEIRS[modality]}"] = video.packed[:, columns]
    found["moe_logits"] = text.logits[:, case.order]
    rule, whole = model.layout.missing, torch.ones(4, dtype=torch.bool)
    found["moe_softmax"] = mixture_weights(text.logits, whole, rule)[:, case.order]
    found["moe_renorm"] = mixture_weights(text.logits[:, None], case.available, rule)[..., case.order]
    found["conf"] = all_scores(model, case, text, video)
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_every_output_is_the_references(make_model, make_case, name, mode, dtype):
    exact = dtype == torch.float64
    case = make_case(name) if exact else make_case(name).in_float32()
    found = our_outputs(make_model(dtype).train(mode == "train"), case)
    expected = case.under(mode)
    compared = set()
    for output, ours in found.items():
        assert ours.dtype == dtype
        torch.testing.assert_close(
            ours, expected[output], **(EXACT if exact else ROUNDED), msg=f"{output}: {{}}".format
        )
        compared.add(output)
    if mode == "eval":
        torch.testing.assert_close(found["conf"].diagonal(), expected["diag"], **(EXACT if exact else ROUNDED))
        compared.add("diag")
    left = {rest for rest in expected if rest.partition(".")[0] not in ("grad", "buffer_after")} - compared
    assert left <= {"conf_WRONG_rowwise_mask"}


@pytest.mark.parametrize("name", CASES)
def test_losses_are_the_references_in_all_four_normalisations(make_model, make_case, name):
    case, model = make_case(name), make_model()
    with torch.no_grad():
        evaluated = MaxMarginLoss(0.2, over_all=True)(all_scores(model, case, *embed(model, case)[:2]), NEGATIVE)
        scores = all_scores(model.train(), case, *embed(model, case)[:2])
    assert float(evaluated) == pytest.approx(case.figures["eval_loss_margin_0.2"], abs=1e-9, rel=0)
    mean = float(MaxMarginLoss(0.2)(scores, NEGATIVE))
    ours = {
        "reference_mean_over_2n2_incl_diagonal": float(MaxMarginLoss(0.2, over_all=True)(scores, NEGATIVE)),
        "mean_over_off_diagonal_2n(n-1)": mean,
        "sum_over_off_diagonal": mean * 2 * 10 * 9,
        "sum_over_off_diagonal_div_n": mean * 2 * 9,
    }
    assert ours == pytest.approx(case.figures["train_loss_variants"], abs=1e-9, rel=0)
    assert ours["reference_mean_over_2n2_incl_diagonal"] == pytest.approx(
        case.figures["train_loss_margin_0.2"], rel=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_and_running_statistics_of_a_step_are_the_references(make_model, make_case, name, dtype):
    exact = dtype == torch.float64
    case, model = make_case(name) if exact else make_case(name).in_float32(), make_model(dtype).train()
    text, video, _ = embed(model, case)
    MaxMarginLoss(0.2, over_all=True)(all_scores(model, case, text, video), NEGATIVE).backward()
    gradients = by_our_names(case.under("train.grad"))
    learns = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert set(gradients) == set(learns) == {name for name, _ in model.named_parameters()} - {"offset"}
    assert (model.offset == 0).all()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    tolerance = EXACT if exact else {"atol": 5e-5 * largest, "rtol": 0.0, "check_dtype": False}
    for parameter, value in learns.items():
        torch.testing.assert_close(value.grad, gradients[parameter], **tolerance, msg=f"{parameter}: {{}}".format)
    statistics = by_our_names(case.under("train.buffer_after"))
    buffers = dict(model.named_buffers())
    running = {buffer for buffer in buffers if "running" in buffer}
    assert set(statistics) == running
    for buffer in running:
        torch.testing.assert_close(buffers[buffer], statistics[buffer], **(EXACT if exact else ROUNDED))


@pytest.mark.parametrize("name", CASES)
def test_six_steps_of_adam_are_the_references(make_model, make_case, name):
    case, model, loss = make_case(name), make_model().train(), MaxMarginLoss(0.2, over_all=True)
    optimiser = make_optimiser(model, loss, TrainConfig(learning_rate=1e-3, weight_decay=0.0))
    losses = []
    for _ in range(6):
        value = loss(all_scores(model, case, *embed(model, case)[:2]), NEGATIVE)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses == pytest.approx(case.figures["adam_lr1e-3_train_loss_6_steps"], abs=1e-9, rel=0)
    with torch.no_grad():
        after = loss(all_scores(model.eval(), case, *embed(model, case)[:2]), NEGATIVE)
    assert float(after) == pytest.approx(case.figures["eval_loss_after_6_adam_steps"], abs=1e-9, rel=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("queries", "clips"), [(slice(2, 5), slice(0, 9)), (slice(0, 10), slice(7, 8))])
def test_fewer_queries_or_clips_give_a_part_of_the_score_matrix(make_model, make_case, name, queries, clips):
    """The reference takes as many texts as videos only; a rectangle of ours is cut out of its square."""
    case, model = make_case(name), make_model()
    text, video, _ = embed(model, case)
    scores = mee_scores(
        text.packed[queries], video.packed[clips], text.logits[queries], case.available[clips], model.layout
    )
    torch.testing.assert_close(scores, case["eval.conf"][queries, clips], **EXACT)


@pytest.mark.parametrize("name", ["missing", "missing_padded"])
def test_the_old_rowwise_mask_is_not_what_we_compute(make_model, make_case, name):
    """Before 12 November 2019 the public code masked every candidate with what the text's own video has, which
    leaks the answer. On the diagonal both agree; beside it they are far apart."""
    case, model = make_case(name), make_model()
    text, video, _ = embed(model, case)
    scores, wrong = all_scores(model, case, text, video), case["eval.conf_WRONG_rowwise_mask"]
    torch.testing.assert_close(scores.diagonal(), wrong.diagonal(), **EXACT)
    apart = float((scores - wrong).detach().abs()[NEGATIVE].max())
    assert apart == pytest.approx(case.figures["max_abs_diff_rowwise_bug_vs_correct"], rel=1e-9)
    assert apart > 0.5
    leaking = [
        mee_scores(
            text.packed[[q]], video.packed, text.logits[[q]], case.available[[q]].expand(10, 4), model.layout
        )
        for q in range(10)
    ]
    torch.testing.assert_close(torch.cat(leaking), wrong, **EXACT)  # it is that mistake and no other
