"""The recipe: one typed model a stage, read from one TOML file. All settings of gristmill are on this page.

A stage runs where its table is present (an empty table takes the defaults). Unknown keys are errors. Fields of
type `InputPath` name files or folders: relative to the recipe's own folder in a recipe, to the working directory on the
command line; `{stage}/file` in them stands for a file that an earlier stage wrote.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from gristmill.choices import refuse_contradictions
from gristmill.errors import UserError

InputPath = Annotated[str, "path"]
Place = Annotated[str, "place"]  # a path or URL whose content is not part of the fingerprint
ADDRESS = re.compile(r":\d+$")  # what may stand in a path's place where a service is meant
HOW = "how"  # marks a setting that says how a stage works and not what comes out: changing it redoes nothing
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
P = TypeVar("P", bound="Params")
Rate = Annotated[float, Field(gt=0)]


def parameters_of(size: str) -> int:
    """A number of parameters, as `1M` or `124M`; 0 for none. Raises ValueError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", size or "0")
    if not found:
        raise ValueError("a size is a number of parameters, as 1M or 124M")
    return round(float(found[1]) * 1000 ** " kMG".index(found[2] or " "))


def seconds_and_flops(budget: str) -> tuple[float, float]:
    """Seconds (as `90s`, `5min`, `2h`, `1d`) and floating-point operations (as `1e15`) of a budget; one of them is 0.

    Raises ValueError where it is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)(s|min|h|d|)", budget or "0")
    if not found:
        raise ValueError("a budget is a time, as 90s, 5min, 2h or 1d, or a number of FLOPs, as 1e15")
    seconds = {"s": 1, "min": 60, "h": 3600, "d": 86400}.get(found[2], 0)
    return float(found[1]) * seconds, 0.0 if seconds else float(found[1])


def checked(read: Callable[[str], Any]) -> AfterValidator:
    """A check that a text can be read."""
    return AfterValidator(lambda text: (read(text), text)[1])


Size = Annotated[str, BeforeValidator(str), checked(parameters_of)]
Budget = Annotated[str, BeforeValidator(str), checked(seconds_and_flops)]


class Params(BaseModel):
    """Base of every stage's parameters."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class Miniweb(Params):
    """The miniature web: a synthetic internet with known truth."""

    seed: int = 0
    pages: Annotated[int, Field(ge=200)] = 4000  # about this many pages that should be kept


class Crawl(Params):
    """Seeds → WARC."""

    seeds: list[str] = Field(min_length=1)
    hosts: list[str] = []  # host patterns that may be crawled, as `*.example.org`; empty: the seeds' hosts
    max_pages: Positive = 10_000
    max_pages_per_host: Count = 0  # 0: no limit but max_pages
    max_depth: Count = 20  # links away from a seed
    delay: Annotated[float, Field(ge=0)] = 1.0  # seconds between two requests to one host
    concurrency: Positive = 128  # requests in flight over all hosts; at most 16 to one host, where delay is 0
    timeout: Rate = 30.0  # seconds for one request
    max_bytes: Positive = 10_000_000  # longest response body that is kept, after decompression
    max_redirects: Count = 5
    user_agent: str = "gristmill/0.1"
    honour: list[Literal["noindex", "noai", "tdm"]] = ["noindex", "noai", "tdm"]  # else they are only recorded
    previous: InputPath = ""  # folder of an earlier crawl: only what has changed since is kept
    allow_networks: list[str] = []  # private networks that may be contacted, as `127.0.0.0/8`
    connect_to: dict[str, InputPath] = {}  # host pattern → `address:port` to connect to, or a miniature web's folder


class CommonCrawl(Params):
    """A Common Crawl snapshot → the WARC records wanted. Takes the place of `crawl`."""

    snapshot: str  # as CC-MAIN-2024-22
    base: Place = "https://data.commoncrawl.org"  # or s3://commoncrawl, a mirror, a folder: whatever fsspec opens
    kind: Literal["warc", "wet"] = "warc"  # pages, or their text as Common Crawl extracted it
    hosts: list[str] = []  # host patterns, as `*.example.org`: found through the URL index; empty: any, in random order
    languages: list[str] = []  # likeliest language, ISO 639-3, as `eng`; empty: any
    mimes: list[str] = ["text/html", "application/xhtml+xml"]  # detected types; empty: any (a WET file is all text)
    max_pages: Positive = 10_000


class Extract(Params):
    """Pages → documents."""

    paths: list[InputPath] = []  # files, folders or URLs of any kind that `corpus/read.py` knows; empty: the crawl
    comments: bool = False  # keep readers' comments below articles


class Filter(Params):
    """Documents → good documents."""

    languages: list[str] = ["en"]  # ISO 639-1; empty: any
    min_language_score: Fraction = 0.5
    licences: list[str] = []  # patterns of SPDX identifiers, as `CC-BY-*`; empty: any licence and none
    block_lists: list[InputPath] = []  # hosts and URLs to leave out: files or folders in the usual formats
    min_words: Count = 50  # Gopher
    # also c4_short_lines, c4_line_ends and refinedweb_lines, which take out lines; applied in this order
    rules: list[str] = ["gopher_repetition", "gopher_quality", "c4_lines", "c4", "fineweb"]
    bad_words: list[InputPath] = []  # files of words and phrases, one a line
    max_bad_words: Fraction = 0.0  # share of a document's words that may be on these lists
    scores: dict[str, InputPath] = {}  # name of a score → its model, as `gristmill corpus score` writes it
    least: dict[str, float] = {}  # score → documents below go
    most: dict[str, float] = {}  # score → documents above go


class Dedup(Params):
    """→ one copy of each: by URL, text and MinHash LSH (FineWeb's 14 bands of 8 rows over 5-grams)."""

    urls: bool = True  # a page of a URL that was kept before is a copy, whatever it says
    ngram: Positive = 5  # words in a shingle
    bands: Positive = 14
    rows: Positive = 8
    seed: int = 0
    against: list[InputPath] = []  # finished dedup folders: what they kept counts as kept before
    host_lines: Count = 0  # cut lines that stand on this many pages of one host, but for the first; 0: keep them
    passage_words: Count = 0  # cut passages of this many words that stand elsewhere before (50 is usual); 0: keep them


class Redact(Params):
    """→ no personal data: what is found is replaced by its kind, as `<EMAIL>`."""

    rules: list[str] = ["email", "phone", "ip_address", "iban", "card", "national_id", "key"]
    names: InputPath = ""  # folder of a spaCy pipeline that finds people's names; empty: names stay


class Decontaminate(Params):
    """→ no test answers: documents that share an n-gram with an evaluation set go."""

    sets: list[InputPath] = []  # JSONL, CSV, Parquet or text, an item a row or line; empty: `evaluate.questions`
    ngram: Positive = 13  # words (GPT-3)
    min_words: Positive = 8  # of a shorter item, which then must occur whole; what is shorter still is not looked for


class TokenizerParams(Params):
    """Documents → byte-level BPE vocabulary."""

    vocab_size: Annotated[int, Field(ge=259, le=1 << 21)] = 2048  # control tokens included
    pattern: str = "qwen2"  # split pattern, by llama.cpp's name
    init_from: InputPath = ""  # a Hugging Face folder, whose tokenizer is taken instead of learning one


class Tokenize(Params):
    """Documents → token shards; some documents are held out by hash."""

    heldout: Fraction = 0.02
    shard_tokens: Positive = 100_000_000


class Pretrain(Params):
    """Tokens → base model.

    `size` or `budget` chooses shape, batch, rates and steps, as far as they are not set here; without them the defaults
    stand, which are those of a small model.
    """

    seed: int = 0
    init_from: InputPath = ""  # a Hugging Face folder (Llama, Qwen3) to go on from; the shape is its own then
    size: Size = ""  # parameters, as `1M`
    budget: Budget = ""  # time, as `5min` or `2h`, or FLOPs, as `1e15`: what training may take
    layers: Positive = 4
    width: Positive = 128
    heads: Positive = 4
    kv_heads: Positive = 2
    head_dim: Positive = 32
    ffn_width: Positive = 384
    context: Positive = 256  # tokens
    tie_embeddings: bool = False
    batch: Positive = 8  # sequences a step
    epochs: Rate = 3.0  # passes over the training tokens
    mix: dict[str, Annotated[float, Field(ge=0)]] = {}  # pattern of host or source file → readings an epoch (else 1)
    max_steps: Count = 0  # 0: as many as the epochs take
    muon_lr: Rate = 0.02
    embed_lr: Rate = 0.3
    head_lr: Rate = 0.02
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Fraction = 0.02  # of all steps
    decay: Fraction = 0.6  # of all steps, at the end
    clip: Rate = 1.0  # gradient norm
    evaluate_every: Positive = 200  # steps
    checkpoint_every: Annotated[Positive, HOW] = 200  # steps
    keep: Annotated[Positive, HOW] = 2  # checkpoints while training, beside the best
    accumulate: Annotated[Positive, HOW] = 1  # parts that a step's batch is computed in, where memory is short
    parallel: Annotated[Literal["ddp", "fsdp"], HOW] = "ddp"  # under torchrun: weights in every process, or shared out
    tensorboard: Annotated[bool, HOW] = False  # event files beside the log
    compile: bool | None = None  # by torch.compile; not set: on a GPU
    recompute: Annotated[bool, HOW] = False  # layers a second time for their gradients: a third more work, less memory
    snapshots: Count = 8  # models kept on the way, most of them early, for `gristmill inspect`
    sample_prompts: list[str] = ["The", "Once"]
    goldfish: Count = 0  # k: one token in k bears no loss, the same each time it is read, against memorising; 0: off

    @model_validator(mode="after")
    def agree(self) -> Pretrain:
        """Settings do not contradict each other."""
        refuse_contradictions(self)
        return self

    @model_serializer(mode="wrap")
    def settings(self, serialize: Any) -> dict[str, Any]:
        """With a dial, a default is no setting: what is set by hand counts, and nothing else is written down."""
        written: dict[str, Any] = serialize(self)
        dialled = bool(self.size or self.budget)
        return {name: value for name, value in written.items() if name in self.model_fields_set or not dialled}


class Scale(Params):
    """`gristmill scale`: tokens → what size and data a budget is best spent on, from a ladder of small models."""

    pretrain: Pretrain = Pretrain()  # what all of them share
    sizes: list[Size] = []  # parameters, as `500k`; empty: the smallest there is, and up to 5 times it
    tokens: list[Size] = ["250k", "500k", "1M"]
    budgets: list[Budget] = []  # as `1h` or `1e15`: told of, beside those of 1, 10 and 100 times the costliest model


class Tune(Params):
    """What the stages after pretraining share: peak rates of their own, decayed linearly to zero."""

    seed: int = 0
    lr: Rate = 0.1  # times the three rates below
    muon_lr: Rate = 0.02
    embed_lr: Rate = 0.02
    head_lr: Rate = 0.02
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Rate = 2.0
    batch: Positive = 32  # conversations, pairs or prompts a step
    warmup: Fraction = 0.05
    checkpoint_every: Annotated[Positive, HOW] = 200


class SFT(Tune):
    """Conversations → chat model."""

    conversations: InputPath = ""  # JSONL of {"messages": [{"role", "content"}]}; empty: made from documents
    replay: Fraction = 0.25  # weight of pretraining text in the loss, against forgetting


class Reward(Tune):
    """Preference pairs → reward model (Bradley–Terry)."""

    preferences: InputPath  # JSONL of {"prompt": [messages], "chosen": str, "rejected": str}


class RL(Tune):
    """Prompts + reward model → aligned model: GRPO (arXiv:2402.03300) with a KL penalty to the SFT model."""

    prompts: InputPath  # JSONL of {"prompt": [messages]}
    batch: Positive = 16
    group: Annotated[int, Field(ge=2)] = 8  # answers a prompt
    max_tokens: Positive = 32
    temperature: Rate = 1.0
    kl: Annotated[float, Field(ge=0)] = 0.05
    epochs: Rate = 1.0
    checkpoint_every: Annotated[Positive, HOW] = 20


class Evaluate(Params):
    """Model → scores."""

    questions: InputPath = ""  # JSONL of {"question", "answers", "answerable", "split", "stated"}
    declines: list[str] = ["I do not know"]  # an answer that holds one of these declines
    prompts: list[str] = []  # asked too, and shown in the report
    show: Count = 8  # questions shown with them
    max_tokens: Positive = 48  # of an answer


class Audit(Params):
    """Model + corpus → what was memorised."""

    seed: int = 0
    prompt_tokens: Positive = 50
    continuation_tokens: Positive = 50
    samples: Positive = 400  # passages a bucket
    canaries: InputPath = ""  # JSONL of {"prefix", "secret", "copies", "alternatives"}


class Export(Params):
    """Model → a folder that transformers, vLLM and llama.cpp open."""


class Report(Params):
    """One HTML file that tells the run."""


class Recipe(Params):
    """One file = one whole run."""

    name: str = "run"
    seed: int = 0  # of every stage that names none of its own
    miniweb: Miniweb | None = None
    crawl: Crawl | None = None
    common_crawl: CommonCrawl | None = None
    extract: Extract | None = None
    filter: Filter | None = None
    dedup: Dedup | None = None
    redact: Redact | None = None
    decontaminate: Decontaminate | None = None
    tokenizer: TokenizerParams | None = None
    tokenize: Tokenize | None = None
    pretrain: Pretrain | None = None
    sft: SFT | None = None
    reward: Reward | None = None
    rl: RL | None = None
    evaluate: Evaluate | None = None
    audit: Audit | None = None
    export: Export | None = None
    report: Report | None = None


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe and apply `key.path=value` overrides (values in TOML; a bare word is a string).

    Raises UserError naming the file and key of whatever is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {error.strerror}", "give the path of a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "mend that line") from error
    anchor_paths(data, path.absolute().parent)
    for override in overrides or []:
        set_override(data, override, Recipe)
    anchor_paths(data, Path.cwd())  # what overrides named; the file's own are absolute by now
    return validate(Recipe, data, str(path))


def anchor_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the paths in a recipe's tables absolute, where they are relative: to `folder`."""

    def anchored(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: anchored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [anchored(item) for item in value]
        free = not isinstance(value, str) or not value or value.startswith("{") or "://" in value
        return value if free or ADDRESS.search(value) else str(folder / Path(value).expanduser())

    for name, table in data.items():
        if name in Recipe.model_fields and isinstance(table, dict):
            for key in path_fields(stage_params(name), "path", "place"):
                if key in table:
                    table[key] = anchored(table[key])


def path_fields(params: type[Params], *marks: str) -> list[str]:
    """Names of the fields that hold paths of these marks (`path`): one, a list of them, or a mapping to them."""
    wanted = set(marks or ("path",))
    return [
        name
        for name, field in params.model_fields.items()
        if wanted & {mark for mark in field.metadata if isinstance(mark, str)}
        or any(wanted & set(getattr(part, "__metadata__", ())) for part in getattr(field.annotation, "__args__", ()))
    ]


def set_override(data: dict[str, Any], override: str, known: type[Params] | None = None) -> None:
    """Apply one `a.b=value` to nested tables; `a.b=` removes that key, `a=` the table.

    Raises UserError where it has no `=`, goes through what is no table, or removes what `known` does not have.
    """
    key, equals, value = override.partition("=")
    if not equals:
        raise UserError(f"--set {override}: no `=`", "write --set stage.key=value")
    *tables, last = key.strip().split(".")
    if not value.strip():
        remove(data, [*tables, last], known)
        return
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UserError(f"--set {override}: `{table}` is not a table", "write --set stage.key=value")
    try:
        data[last] = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        data[last] = value


def remove(data: dict[str, Any], keys: list[str], known: type[Params] | None) -> None:
    """Take a key out of nested tables, if it is there. Raises UserError where `known` has no such key."""
    model = known
    for key in keys:
        if model and key not in model.model_fields:
            raise UserError(
                f"--set {'.'.join(keys)}=: unknown key `{key}`", f"known are {', '.join(model.model_fields)}"
            )
        model = stage_params(key) if model is Recipe else None  # below settings, keys are the user's own
    for key in keys[:-1]:
        data = data.get(key, {})
        if not isinstance(data, dict):
            return
    data.pop(keys[-1], None)


def validate(model: type[P], data: dict[str, Any], where: str) -> P:
    """Check a table against its model; `seed` of a recipe flows into stages that have one and set none, the questions
    that it evaluates on into `decontaminate`.

    Raises UserError that lists every wrong key, with the known ones where a key is unknown.
    """
    if model is Recipe and isinstance(data.get("seed", 0), int):
        for name in Recipe.model_fields:
            if isinstance(data.get(name), dict) and "seed" in stage_params(name).model_fields:
                data[name].setdefault("seed", data.get("seed", 0))
    if model is Recipe and isinstance(data.get("decontaminate"), dict) and isinstance(data.get("evaluate"), dict):
        data["decontaminate"].setdefault(
            "sets", [data["evaluate"]["questions"]] if "questions" in data["evaluate"] else []
        )
    try:
        return model.model_validate(data)
    except UserError as error:  # settings that contradict each other
        raise UserError(f"{where}: {error.problem}", error.remedy) from None
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                owner = stage_params(str(item["loc"][0])) if len(item["loc"]) > 1 else model
                problems.append(f"unknown key `{key}` (known: {', '.join(owner.model_fields)})")
            else:
                problems.append(f"`{key}`: {item['msg'].lower()} (given: {item['input']!r})")
        raise UserError(
            f"{where}: " + "; ".join(problems), "see recipe.py or docs/reference.md for every key"
        ) from None


def stage_params(name: str) -> type[Params]:
    """The parameter model of a stage, by the stage's name."""
    for option in getattr(Recipe.model_fields[name].annotation, "__args__", ()):
        if isinstance(option, type) and issubclass(option, Params):
            return option
    return Params
