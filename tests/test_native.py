"""What Python says of the C functions, structures and constants is what the C compiler has read."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gristmill
from gristmill import native
from gristmill.corpus.dedup import index, minhash
from gristmill.corpus.filter import statistics
from gristmill.corpus.text import words
from gristmill.errors import UserError
from gristmill.generation import decoder, packing, sampling
from gristmill.generation.weight_type import WeightType
from gristmill.html import links
from gristmill.html.content import main_text
from gristmill.model import kernels
from gristmill.tokenizer import encode, pretokens

SOURCE = Path(gristmill.__file__).parent
NUMBERS = {f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)}
VALUES: dict[str, Any] = {
    "void": None,
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "_Bool": ctypes.c_bool,
    "float": ctypes.c_float,
    "size_t": ctypes.c_size_t,
    **{f"{name}_t": getattr(ctypes, f"c_{name}") for name in NUMBERS},
}
ARRAYS = {**{f"{name}_t": name for name in NUMBERS}, "float": "float32"}
STRUCTURES: dict[str, tuple[type[ctypes.Structure], ...]] = {
    "html/content/choose.c": (
        links.Entities,
        main_text.Forest,
        main_text.WordWeights,
        main_text.Model,
        main_text.Result,
    ),
    "generation/sampling.c": (sampling.Draw, decoder.Step),
    "model/kernels.c": (kernels.AttentionJob, kernels.NormJob, kernels.SwigluJob, kernels.CrossEntropyJob),
}
CONSTANTS = (
    ("c/utf8.h", "CODE_POINTS", words.CODE_POINTS),
    ("corpus/dedup/index.c", "NEAR_COPY", index.RULES.index("near_copy")),
    ("corpus/dedup/minhash.c", "LANES", minhash.LANES),
    ("corpus/filter/statistics.c", "CLASSES", statistics.CLASSES),
    ("corpus/filter/statistics.c", "COUNTS", len(statistics.Measures._fields)),
    ("tokenizer/encode.c", "MOST_TOKENS", encode.MOST_TOKENS),
    ("tokenizer/encode.c", "SMALL_TOKENS", encode.SPARE),
    ("tokenizer/pretokens.c", "COMMON", pretokens.COMMON),
    ("generation/step/step.h", "PANEL", packing.PANEL),
    ("generation/step/step.h", "PAGE", decoder.PAGE),
    ("generation/step/step.h", "MOST_HEAD", decoder.MOST_HEAD),
    *(("generation/step/step.h", kind.name, number) for number, kind in enumerate(WeightType)),
    ("generation/step/step_128.c", "GROUP", packing.GROUP),
    ("generation/sampling.c", "IN_PROMPT", sampling.IN_PROMPT),
    ("model/kernels.h", "NORM_ROWS", kernels.NORM_ROWS),
    ("model/kernels_512.c", "LANES", kernels.LANES),
)


ORACLES = {  # a test that compares with a slow, plain version, a peer or the definition → the functions that it calls
    "corpus/dedup/test_dedup.py::test_signatures_are_their_definition": "gm_signatures",
    "corpus/dedup/test_dedup.py::test_digests_are_equal_just_where_the_words_are": "gm_digest",
    "corpus/dedup/test_dedup.py::test_verdicts_are_those_of_comparing_all_with_all": "gm_find gm_settle gm_merge",
    "corpus/dedup/test_passages.py::test_passages_are_those_of_a_suffix_array": "gm_anchors gm_windows",
    "corpus/dedup/test_passages.py::test_lines_are_those_that_hold_words": "gm_lines",
    "corpus/test_statistics.py::test_counts_are_their_definitions": "gm_measure",
    "corpus/test_language.py::test_scores_are_the_librarys": "gm_language_scores",
    "corpus/test_decontaminate.py::test_an_index_finds_what_a_plain_search_finds": "gm_word_hashes",
    "audit/test_trace.py::test_suffixes_are_in_order": "gm_suffix_sort",
    "audit/test_trace.py::test_counts_are_those_of_a_plain_search": "gm_suffix_find",
    "audit/test_trace.py::test_the_longest_run_is_the_longest": "gm_suffix_longest",
    "html/test_main_text.py::test_text_is_that_of_a_standard_parser": "gm_html_extract gm_html_free",
    "html/test_links.py::test_well_formed_pages_against_the_standard_library": "gm_html_links",
    "tokenizer/test_split.py::test_pieces_equal_the_expression_on_any_text": "gm_split",
    "tokenizer/test_pretokens.py::test_counts_are_exact": "gm_words_new gm_words_free gm_words_count gm_words_list",
    "tokenizer/test_pretokens.py::test_threads_order_and_spilling_change_nothing": "gm_words_add gm_words_size",
    "tokenizer/test_bpe.py::test_merges_are_those_of_a_plain_implementation": "gm_merger_new gm_merger_run "
    "gm_merger_free",
    "tokenizer/test_encode.py::test_any_text_equals_tiktoken_and_comes_back": "gm_encode gm_cache_new gm_cache_free "
    "gm_vocabulary_new gm_vocabulary_free",
    "training/test_loader.py::test_packing_is_best_fit_the_longest_first": "gm_pack",
    "training/test_loader.py::test_an_epoch_predicts_every_token_once_from_the_one_before": "gm_fill_16 gm_fill_32",
    "training/test_goldfish.py::test_it_is_its_definition": "gm_goldfish_16 gm_goldfish_32",
    "generation/test_decoder.py::test_a_step_is_the_plain_forward_pass": "gm_step gm_step_scratch",
    "generation/test_sampling.py::test_just_the_tokens_of_the_definitions_are_drawn": "gm_sample",
    "generation/test_sampling.py::test_log_probabilities_are_the_models_and_the_likeliest_come_first": "gm_score",
    "model/test_kernels.py::test_attention": "gm_attend gm_attend_back",
    "model/test_kernels.py::test_rms_norm": "gm_rms_norm gm_rms_norm_back",
    "model/test_kernels.py::test_swiglu": "gm_swiglu gm_swiglu_back",
    "model/test_kernels.py::test_cross_entropy": "gm_cross_entropy",
}


def compile_only(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Let the C compiler read a program without making anything of it."""
    command = ["cc", "-std=c11", "-fsyntax-only", "-w", *options, "-x", "c", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, cwd=SOURCE)


@cache
def prototypes(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Result and argument types of every function that our C defines for others, as the compiler understood them."""
    found = {}
    for path in SOURCE.rglob("*.c"):
        listing = folder / f"{path.stem}.prototypes"
        done = compile_only(f'#include "{path}"\n', "-aux-info", str(listing))
        if done.returncode or not listing.exists():
            pytest.skip(f"this compiler lists no prototypes (gcc's -aux-info): {done.stderr[-200:]}")
        for result, name, arguments in re.findall(
            r"^/\* \S*?:\d+:NF \*/ extern (.*?)(\w+) \((.*?)\); /\*", listing.read_text(), re.M
        ):
            kinds = [
                re.sub(r"(?<=\*)\w+$|(?<=_t) \w+$|(?<=float) \w+$|(?<=int) \w+$", "", kind)
                for kind in arguments.split(", ")
            ]
            found[name] = (result.strip(), [] if arguments == "void" else kinds)
    return found


def tool(name: str) -> Any:
    """A module of tools/, which is no package."""
    path = SOURCE.parents[1] / "tools" / f"{name}.py"
    if not path.exists():
        pytest.skip("tools/ is in the repository alone")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def declared() -> dict[str, native.Function]:
    """Every function that some module of the package declares."""
    for path in SOURCE.rglob("*.py"):
        if "Function(" in path.read_text():
            importlib.import_module(".".join(("gristmill", *path.relative_to(SOURCE).with_suffix("").parts)))
    return native.Function.declared


def c_name(made: type) -> str:
    """What C calls a structure."""
    return "struct " + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", made.__name__).lower()


def agrees(kind: str, said: Any) -> bool:
    """Whether a C type, as `const uint8_t *`, may be declared as `said`."""
    target = kind.replace("const ", "").replace("struct ", "").rstrip("* ")
    if "*" not in kind and "(" not in kind:
        return target in VALUES and said is VALUES[target]
    if isinstance(said, np.dtype):
        return ARRAYS.get(target) == said.name and kind.count("*") == 1
    if said is ctypes.c_char_p:
        return target in ("uint8_t", "char")
    if isinstance(said, type) and issubclass(said, ctypes._Pointer):
        return f"struct {target}" == c_name(said._type_)
    return said is ctypes.c_void_p


def test_every_declaration_is_the_prototype(tmp_path_factory: pytest.TempPathFactory) -> None:
    found, functions = prototypes(tmp_path_factory.mktemp("prototypes")), declared()
    assert len(functions) > 25
    for name, function in functions.items():
        assert name in found, f"C has no function {name}"
        result, arguments = found[name]
        assert agrees(result, function.result), f"{name} returns `{result}`, Python says {function.result}"
        assert len(arguments) == len(function.arguments), f"{name} takes {arguments}"
        for place, (kind, said) in enumerate(zip(arguments, function.arguments, strict=True)):
            assert agrees(kind, said), f"{name}, argument {place}: C has `{kind}`, Python {said}"


def test_a_wrong_declaration_would_be_found() -> None:
    assert (
        agrees("const uint8_t *", native.U8)
        and agrees("size_t", native.SIZE)
        and agrees("struct page *", native.POINTER)
    )
    assert not agrees("const uint8_t *", native.U16) and not agrees("uint8_t *", native.SIZE)
    assert not agrees("size_t", native.INT) and not agrees("float", ctypes.c_double)
    assert not agrees("int64_t", native.I64) and not agrees("uint64_t *", native.I64)


def test_every_function_has_an_oracle_and_a_run_under_sanitizers() -> None:
    """The table above names a test for each function of the package, among those that `make sanitize` runs."""
    tests = Path(__file__).parent
    makefile = (tests.parent / "Makefile").read_text().replace("\\\n", "")
    sanitized = next(re.finditer(r"^NATIVE_TESTS := (.*)$", makefile, re.M)).group(1).split()
    named = [name for names in ORACLES.values() for name in names.split()]
    package = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert sorted(named) == sorted(name for name in declared() if f'"{name}"' in package)  # tools/ has some too
    for test in ORACLES:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (tests / file).read_text(), test
        assert any(f"tests/{file}".startswith(path) for path in sanitized), (
            f"{file} is not in the Makefile's NATIVE_TESTS"
        )


@pytest.mark.parametrize("file", STRUCTURES)
def test_structures_have_the_layout_that_the_compiler_gives_them(file: str) -> None:
    """Sizes and offsets as Python has them, asserted in C."""

    def asserted(shift: int) -> str:
        lines = [f'#include "{file}"']
        for made in STRUCTURES[file]:
            name = c_name(made)
            lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(made) + shift}, "size of {name}");')
            for field in made._fields_:
                offset = getattr(made, field[0]).offset
                lines.append(f'_Static_assert(offsetof({name}, {field[0]}) == {offset}, "{name}.{field[0]}");')
        return "#include <stddef.h>\n" + "\n".join(lines)

    right, wrong = compile_only(asserted(0)), compile_only(asserted(1))
    assert right.returncode == 0, right.stderr
    assert wrong.returncode != 0  # the assertions are read


@pytest.mark.parametrize(("file", "name", "value"), CONSTANTS)
def test_shared_constants_are_equal(file: str, name: str, value: int) -> None:
    done = compile_only(f'#include "{file}"\n_Static_assert({name} == {value}, "{name}");\n')
    assert done.returncode == 0, done.stderr


def test_features_are_as_many_as_their_header_says() -> None:
    """Those that C writes of a block, and those that the model which ships with the package asks for."""
    model = main_text.model()
    cut = tool("main_text/blocks").Cut(b"<p>One block of text.<p>Another one.", model.classes, model.texts)
    tensors = model.tensors
    lines = [
        f"FEATURES == {cut.features.shape[1]}",
        f"CONTEXT == {cut.context(np.zeros(2)).shape[1]}",
        f"FEATURES > {tensors['first.feature'].max()}",
        f"FEATURES + CONTEXT > {tensors['second.feature'].max()}",
    ]
    done = compile_only(
        '#include "html/content/features.h"\n' + "".join(f'_Static_assert({line}, "");\n' for line in lines)
    )
    assert done.returncode == 0, done.stderr


class Interrupted:
    """A type of an argument during which Ctrl-C comes."""

    @classmethod
    def from_param(cls, value: object) -> object:
        raise KeyboardInterrupt


def test_a_library_of_other_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.OTHER, raising=False)
    library = native.built()
    sources = sorted(SOURCE.rglob("*.[ch]"))
    if native.digest_in(ctypes.CDLL(str(library))) != native.digest(sources):
        pytest.skip("this library was built by other means than setup.py")
    shutil.copy(library, tmp_path)
    shutil.copytree(SOURCE / "c", tmp_path / "c", ignore=lambda *_: ["hashing.c"])
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    with pytest.raises(UserError, match="built from other sources"):
        native.library.__wrapped__()


def test_an_interrupt_while_arguments_are_taken_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    function = next(iter(native.Function.declared.values()))
    compiled: Any = ctypes.CDLL(None).abs
    compiled.argtypes = [Interrupted]
    monkeypatch.setitem(function.__dict__, "compiled", compiled)
    with pytest.raises(KeyboardInterrupt):
        function(1)
    compiled.argtypes = [ctypes.c_char_p]
    with pytest.raises(ctypes.ArgumentError):
        function(1)
