"""LoRA: nothing changes at first, only adapters are trained, merging changes no output, PEFT computes the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gristmill.errors import UserError
from gristmill.model.formats.hf_format import config_json, renamed
from gristmill.model.lora import attach, merge, read_adapter, write_adapter
from gristmill.model.transformer import ModelConfig, Transformer
from gristmill.training.optimizer import Optimizer, Rates


def random_model(seed: int = 0) -> Transformer:
    """A small model whose every weight matters."""
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(300, 2, 32, 4, 2, 16, 48, 64, qk_norm=False))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.2)
    return model


def tuned(model: Transformer) -> torch.Tensor:
    """A few steps on the adapters; the outputs after them."""
    ids = torch.randint(300, (2, 33), generator=torch.Generator().manual_seed(1))
    optimizer = Optimizer(model, Rates(0.1, 0.1, 0.1, adamw=0.02))
    for _ in range(5):
        torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step(1.0)
    with torch.no_grad():
        after: torch.Tensor = model(ids)
    return after


def test_only_adapters_are_trained_and_merging_changes_no_output(tmp_path: Path) -> None:
    model, plain, ids = random_model(), random_model(), torch.randint(300, (2, 20))
    attach(model, 4, 8.0, ("q", "down"))
    assert torch.equal(model(ids), plain(ids))
    after = tuned(model)
    before = dict(plain.named_parameters())
    moved = {name for name, weight in model.named_parameters() if name not in before or not weight.equal(before[name])}
    assert moved == {
        f"layers.{n}.{place}.lora_{letter}" for n in (0, 1) for place in ("attention.q", "ffn.down") for letter in "ab"
    }
    write_adapter(model, tmp_path, "base")
    again = random_model()
    read_adapter(again, tmp_path)
    merge(model)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    ids = torch.randint(300, (2, 33), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(model(ids), after, atol=1e-4) and torch.equal(again(ids), after)
    other = Transformer(ModelConfig(300, 1, 32, 4, 2, 16, 48, 64))
    with pytest.raises(UserError, match="not of this model"):
        read_adapter(other, tmp_path)
    with pytest.raises(UserError, match="no adapters"):
        read_adapter(other, tmp_path / "nowhere")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"r": 0}))
    with pytest.raises(UserError, match="r = 0"):
        read_adapter(random_model(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file({"odd": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="odd is not of this model"):
        read_adapter(random_model(), tmp_path)


def test_adapters_of_another_base_of_the_same_shape_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model()
    attach(model, 4, 8.0)
    tuned(model)
    write_adapter(model, tmp_path, "base")
    read_adapter(random_model(), tmp_path)
    grown = Transformer(ModelConfig(310, 2, 32, 4, 2, 16, 48, 64, qk_norm=False))  # ten tokens more, the same layers
    grown.layers.load_state_dict(random_model().layers.state_dict())
    read_adapter(grown, tmp_path)
    assert "other weights" not in capsys.readouterr().err
    read_adapter(random_model(seed=1), tmp_path)
    assert f"the adapters in {tmp_path} were trained on a model of other weights" in capsys.readouterr().err
    written = tmp_path / "adapter_config.json"
    written.write_text(json.dumps(json.loads(written.read_text()) | {"auto_mapping": None}))  # as others write it
    read_adapter(random_model(seed=1), tmp_path)
    assert capsys.readouterr().err == ""


def test_peft_computes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model = random_model()
    peer = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config_json(model.config)))
    peer.load_state_dict({renamed(name): weight for name, weight in model.state_dict().items()})
    attach(model, 4, 8.0)
    after = tuned(model)
    write_adapter(model, tmp_path, "base")
    ids = torch.randint(300, (2, 33), generator=torch.Generator().manual_seed(1))
    theirs = peft.PeftModel.from_pretrained(peer, str(tmp_path))
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, after, atol=1e-4)
    theirs.save_pretrained(tmp_path / "back")
    again = random_model()
    read_adapter(again, tmp_path / "back")
    with torch.no_grad():
        assert torch.allclose(again(ids), after, atol=1e-6)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_alpha"] == 8.0
    assert "other weights" not in capsys.readouterr().err
    read_adapter(random_model(seed=1), tmp_path / "back")
    assert "were trained on a model of other weights" in capsys.readouterr().err, "what PEFT wrote says so, too"
