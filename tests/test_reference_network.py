"""The network that training speed is compared with computes what the published one does: golden/README.md."""

import pytest
import torch

from benchmarks.data.reference_network import UNITS, ReferenceNetwork, reference_loss

EXACT = {"atol": 1e-10, "rtol": 1e-9}


@pytest.fixture
def network(golden):
    tensors, facts = golden
    network = ReferenceNetwork(
        facts["video_modality_dim"], facts["text_dim"], facts["text_cluster_size"], facts["audio_cluster_size"]
    ).double()
    network.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("state.")})
    return network


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("mee_reference.safetensors"), load_golden("mee_reference.json")


def scores(network, golden, case):
    tensors, facts = golden
    given = {name: tensors[f"{case}.in.{name}"] for name in ("text", *UNITS)}
    available = {m: torch.tensor(flags) for m, flags in facts["cases"][case]["availability"].items()}
    return network(given.pop("text"), given, available)


@pytest.mark.parametrize("case", ["full", "missing", "padded", "missing_padded"])
def test_it_scores_and_learns_as_published(network, golden, case):
    """Six steps of Adam pin the loss, the batch norm and every gradient."""
    torch.testing.assert_close(scores(network.eval(), golden, case), golden[0][f"{case}.eval.conf"], **EXACT)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = reference_loss(scores(network.train(), golden, case))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses == pytest.approx(golden[1]["cases"][case]["adam_lr1e-3_train_loss_6_steps"], abs=1e-9)


def test_it_is_not_our_own_loss_by_chance(network, golden):
    """The diagonal terms count, each with the margin."""
    facts = golden[1]["cases"]["missing"]["train_loss_variants"]
    loss = reference_loss(scores(network.train(), golden, "missing")).item()
    assert loss == pytest.approx(facts["reference_mean_over_2n2_incl_diagonal"], abs=1e-9)
    assert loss != pytest.approx(facts["mean_over_off_diagonal_2n(n-1)"], abs=1e-6)
