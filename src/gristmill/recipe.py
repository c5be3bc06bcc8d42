"""The recipe: one typed model a stage, read from one TOML file. All settings are on this page. A stage runs where its
table is present (an empty one takes the defaults). Files and folders are relative to the recipe's own folder;
`{stage}/file` is an earlier stage's file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer, model_validator

from gristmill.settings.choices import refuse_contradictions, refuse_idle_adapters, refuse_unscored
from gristmill.settings.languages import three_letters, two_letters
from gristmill.settings.quantities import media_type, network, plain_name, reading_weight, web_address
from gristmill.settings.types import (
    HOW,
    NAMED,
    Budget,
    Count,
    Epochs,
    Few,
    FewOrNone,
    FilterRule,
    Fraction,
    Gates,
    GGUFKind,
    Goldfish,
    Host,
    InputFile,
    InputFolder,
    InputPath,
    Match,
    Matrix,
    Place,
    Positive,
    Rate,
    RedactRule,
    Rows,
    Seed,
    Signal,
    Size,
    SplitPattern,
    Steps,
    UserAgent,
    Weight,
    Width,
    Words,
    checked,
)

P = TypeVar("P", bound="Params")


class Params(BaseModel):
    """Base of every stage's parameters."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class Miniweb(Params):
    """The miniature web: a synthetic internet with known truth."""

    seed: Seed = 0  # of the invented world
    pages: Annotated[int, Field(ge=200, le=1_000_000)] = 4000  # about this many pages that should be kept


class Crawl(Params):
    """Seeds → WARC."""

    seeds: list[Annotated[str, checked(web_address)]] = Field(min_length=1)  # URLs to begin at
    hosts: list[Host] = []  # host patterns that may be crawled, as `*.example.org`; empty: the seeds' hosts
    max_pages: Positive = 10_000  # pages to keep in all; ten times as many URLs are asked for at most (1,000 at least)
    max_pages_per_host: Count = 0  # 0: no limit but max_pages
    max_depth: Count = 20  # links away from a seed
    delay: Weight = 1.0  # seconds between two requests to one host
    concurrency: Rows = 128  # requests in flight over all hosts; at most 16 to one host, where delay is 0
    timeout: Rate = 30.0  # seconds for one request
    max_bytes: Positive = 10_000_000  # longest response body that is kept, after decompression
    max_redirects: FewOrNone = 5  # one after another, from one URL
    user_agent: UserAgent = "gristmill/0.1"  # how the crawler names itself, in robots.txt too; say who you are
    honour: list[Signal] = ["noindex", "noai", "tdm"]  # these keep a page out; else recorded
    previous: InputFolder = ""  # folder of an earlier crawl: only what has changed since is kept
    allow_networks: list[Annotated[str, checked(network)]] = []  # private ones that may be contacted: `127.0.0.0/8`
    connect_to: dict[str, InputPath] = {}  # host pattern → `address:port` to connect to, or a miniature web's folder


class CommonCrawl(Params):
    """A Common Crawl snapshot → the WARC records wanted. Takes the place of `crawl`."""

    snapshot: Annotated[str, checked(plain_name)]  # as CC-MAIN-2024-22
    base: Place = "https://data.commoncrawl.org"  # or s3://commoncrawl, a mirror, a folder: whatever fsspec opens
    kind: Literal["warc", "wet"] = "warc"  # pages, or their text as Common Crawl extracted it
    hosts: list[Host] = []  # host patterns, as `*.example.org`: by the URL index; empty: any, in random order
    languages: list[Annotated[str, checked(three_letters)]] = []  # likeliest language, ISO 639-3, as `eng`; empty: any
    # detected types; empty: any (a WET file is all text)
    mimes: list[Annotated[str, checked(media_type)]] = ["text/html", "application/xhtml+xml"]
    max_pages: Positive = 10_000  # records to take


class Extract(Params):
    """Pages → documents."""

    paths: Annotated[list[InputPath], NAMED] = []  # files, folders or URLs (docs/documents.md); empty: the crawl
    comments: bool = False  # keep readers' comments below articles
    honour: list[Signal] = ["noindex", "noai", "tdm"]  # these keep a page of a WARC file out, whoever crawled it


class Filter(Params):
    """Documents → good documents."""

    languages: list[Annotated[str, checked(two_letters)]] = ["en"]  # ISO 639-1; empty: any
    min_language_score: Fraction = 0.5  # how sure the language must be
    licences: list[Words] = []  # patterns of SPDX identifiers, as `CC-BY-*`; empty: any licence and none
    block_lists: list[InputPath] = []  # hosts and URLs to leave out: files or folders in the usual formats
    min_words: Count = 50  # of a document (Gopher)
    # also c4_short_lines, c4_line_ends and refinedweb_lines, which take out lines; applied in this order
    rules: list[FilterRule] = ["gopher_repetition", "gopher_quality", "c4_lines", "c4", "fineweb"]
    bad_words: list[InputFile] = []  # files of words and phrases, one a line
    max_bad_words: Fraction = 0.0  # share of a document's words that may be on these lists
    scores: dict[str, InputFile] = {}  # name of a score → its model, as `gristmill corpus score` writes it
    least: dict[str, float] = {}  # score → documents below go
    most: dict[str, float] = {}  # score → documents above go

    @model_validator(mode="after")
    def agree(self) -> Filter:
        """Every bound is of a score that has a model."""
        refuse_unscored(self)
        return self


class Dedup(Params):
    """Documents → one copy of each: by URL, text and MinHash LSH (FineWeb's 14 bands of 8 rows over 5-grams)."""

    urls: bool = True  # a page of a URL that was kept before is a copy, whatever it says
    near: bool = True  # what is nearly the same is a copy too; false: only what has the same words
    ngram: Few = 5  # words in a shingle
    bands: Few = 14  # of MinHash LSH: documents that agree in one are compared
    rows: Few = 8  # hashes in a band
    seed: Seed = 0  # of the hash functions
    against: list[InputFolder] = []  # finished dedup folders: what they kept counts as kept before
    host_lines: Count = 0  # cut lines that occur on this many pages of one host, but for the first; 0: keep them
    passage_words: FewOrNone = 0  # cut passages of this many words that occur elsewhere before (50 is usual); 0: keep


class Redact(Params):
    """Documents → no personal data: what is found is replaced by its kind, as `<EMAIL>`."""

    rules: list[RedactRule] = ["email", "phone", "ip_address", "iban", "card", "national_id", "key"]  # what to find
    names: InputFolder = ""  # folder of a spaCy pipeline that finds people's names; empty: names stay


class Decontaminate(Params):
    """Documents → no test answers: those that share an n-gram with an evaluation set go."""

    sets: list[InputFile] = []  # JSONL, CSV, Parquet or text, an item a row or line; empty: `evaluate.questions`
    ngram: Few = 13  # words in a row that a document may not share with an item (GPT-3)
    min_words: Few = 8  # of a shorter item, which must occur whole; still shorter ones are not looked for


class Passages(Params):
    """Documents as extraction gives them → passages that can be searched and quoted."""

    reading: Annotated[int, Field(ge=0, le=100_000)] = 0  # examples of answering from passages, for sft.conversations
    meaning: bool = False  # vectors of all passages, so that they are found by meaning, too (gristmill[meaning])


class TokenizerParams(Params):
    """Documents → byte-level BPE vocabulary."""

    vocab_size: Annotated[int, Field(ge=261, le=1 << 21)] = 2048  # number of tokens, control tokens included
    pattern: SplitPattern = "qwen2"  # split pattern, by llama.cpp's name: qwen2, llama-bpe, gpt-4o, gpt-2 or smollm
    thoughts: bool = False  # with <think> and </think> as tokens: for conversations that have thoughts before answers
    init_from: InputFolder = ""  # a Hugging Face folder, whose tokenizer is taken instead of learning one


class Tokenize(Params):
    """Documents → token shards; some documents are held out by hash."""

    heldout: Annotated[float, Field(ge=0, lt=1)] = 0.02  # share of the documents that are never trained on, by hash
    shard_tokens: Positive = 100_000_000  # tokens in a file


class Pretrain(Params):
    """Tokens → base model.

    `size` or `budget` chooses shape, batch, rates and steps, as far as they are not set here; without them the defaults
    stand, which are those of a small model.
    """

    seed: Seed = 0  # of the first weights and of the order of the text
    init_from: InputFolder = ""  # a Hugging Face folder (Llama, Qwen3) to go on from; the shape is its own then
    size: Size = ""  # parameters, as `1M`
    budget: Budget = ""  # time, as `5min` or `2h`, or FLOPs, as `1e15`: what training may take
    layers: Few = 4  # of the transformer
    width: Width = 128  # of the residual stream
    heads: Width = 4  # attention heads; a multiple of kv_heads
    kv_heads: Width = 2  # heads of keys and values
    head_dim: Width = 32  # width of a head; even
    ffn_width: Width = 384  # width of the feed-forward layers
    context: Rows = 256  # tokens in a row, the most that the model can read
    tie_embeddings: bool = False  # one matrix for reading tokens and predicting them
    batch: Rows = 8  # sequences a step
    epochs: Epochs = 3.0  # passes over the training tokens
    # pattern of host or source file → readings an epoch (else 1)
    mix: dict[str, Annotated[float, AfterValidator(reading_weight)]] = {}
    max_steps: Steps = 0  # 0: as many as the epochs take
    muon_lr: Rate = 0.02  # peak learning rate of the layers' matrices (Muon)
    normuon: bool = False  # Muon's updates evened out by neuron, with momentum that rises from 0.85 to 0.97
    embed_lr: Rate = 0.3  # of the embedding (AdamW)
    head_lr: Rate = 0.02  # of the output matrix (AdamW)
    weight_decay: Weight = 0.0  # decoupled, of the matrices
    warmup: Fraction = 0.02  # share of all steps in which the rates rise
    decay: Fraction = 0.6  # share of all steps, at the end, in which they fall to zero
    clip: Rate = 1.0  # largest norm of the gradient
    evaluate_every: Positive = 200  # steps between two scorings of held-out text
    tasks_every: Fraction = 0.0  # share of the steps between two scorings of tasks; 0: none
    tasks: dict[Annotated[str, checked(plain_name)], InputFile] = {}  # those with choices; empty: `evaluate.tasks`
    checkpoint_seconds: Annotated[Weight, HOW] = 60.0  # between two checkpoints: what a kill costs at most
    keep: Annotated[Few, HOW] = 2  # checkpoints kept while training, next to the best one
    accumulate: Annotated[Rows, HOW] = 1  # parts that a step's batch is computed in, where memory is short
    parallel: Annotated[Literal["ddp", "fsdp"], HOW] = "ddp"  # under torchrun: weights in every process, or shared out
    tensorboard: Annotated[bool, HOW] = False  # event files next to the log
    compile: bool | None = None  # layers by torch.compile; not set: on a GPU only
    bfloat16: bool | None = None  # matrix products and gathering of sharded weights in it; not set: on a GPU only
    recompute: Annotated[bool, HOW] = False  # each layer anew for its gradient: a third more work, less memory
    snapshots: FewOrNone = 8  # models kept on the way, most of them early, for `gristmill inspect`
    sample_prompts: list[str] = ["The", "Once"]  # continued at every scoring, and shown in the report
    document_mask: bool = True  # documents that share a row do not see each other
    goldfish: Goldfish = 0  # k: one token in k is left out of the loss, always the same, against memorising; 0: off

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


class Tune(Params):
    """What the stages after pretraining share: peak rates of their own, decayed linearly to zero."""

    seed: Seed = 0  # of the order of the examples
    lr: Weight = 0.0  # times the rates below; 0: 0.1, of a model by others 0.01
    muon_lr: Rate = 0.02  # peak learning rate of the layers' matrices (Muon)
    adamw_lr: Weight = 0.0  # of the layers' matrices by AdamW instead of Muon, as 0.01; 0: Muon
    embed_lr: Rate = 0.02  # of the embedding (AdamW)
    head_lr: Rate = 0.02  # of the output matrix (AdamW)
    weight_decay: Weight = 0.0  # decoupled, of the matrices
    epochs: Annotated[float, Field(ge=0, le=1_000)] = 0.0  # passes over the examples; 0: by their number
    batch: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # conversations, pairs or prompts a step; 0: the same
    warmup: Fraction = 0.05  # share of all steps in which the rates rise
    checkpoint_seconds: Annotated[Weight, HOW] = 60.0  # between two checkpoints: what a kill costs at most


class SFT(Tune):
    """Conversations → chat model."""

    lr: Weight = 0.0  # times the other rates; 0: 0.3, of a model by others 0.01, of adapters 0.1
    init_from: InputPath = ""  # a Hugging Face folder or GGUF file (Llama, Qwen3) to begin with, without pretraining
    conversations: InputPath = ""  # in any usual layout (docs/conversations.md); empty: made from documents
    replay: Fraction = 0.25  # weight of pretraining text in the loss, against forgetting
    swa: Fraction = 0.0  # share of the steps, the last, of whose weights the mean is taken; the rates then do not decay
    average: Literal["token", "answer"] = "token"  # what counts alike: tokens, or conversations however long
    heldout: Annotated[float, Field(ge=0, lt=1)] = 0.02  # share of the conversations that only measure, by hash
    tasks_every: Fraction = 0.0  # share of the steps between two scorings of tasks; 0: none
    tasks: dict[Annotated[str, checked(plain_name)], InputFile] = {}  # those with choices; empty: `evaluate.tasks`
    lora_rank: FewOrNone = 0  # of adapters that alone are trained (LoRA, by AdamW) and merged then; 0: all weights
    lora_alpha: Rate = 16.0  # their weight, times the rank
    lora_targets: list[Matrix] = ["q", "k", "v", "o", "gate", "up", "down"]  # matrices that have one
    lora_from: InputFolder = ""  # a folder of PEFT's, whose adapters are trained further; rank and targets are theirs
    _agree = model_validator(mode="after")(refuse_idle_adapters)


class Reward(Tune):
    """Preference pairs → reward model (Bradley–Terry)."""

    preferences: InputPath  # in any usual layout (docs/conversations.md), as {"prompt", "chosen", "rejected"}
    likelihood: Weight = 1.0  # weight that the answer's mean log-likelihood begins with in the reward; 0: it has none


class DPO(Tune):
    """Preference pairs → aligned model, without a reward model: DPO (arXiv:2305.18290)."""

    preferences: InputPath  # as of [reward]
    beta: Rate = 0.1  # what leaving the first model costs
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0  # share of the pairs taken to be the wrong way round
    per_token: bool = False  # log-probabilities a token, so that length is no matter (take a beta of 2 or more)


class KTO(Tune):
    """Answers that are good or bad, each for itself → aligned model: KTO (arXiv:2402.01306)."""

    preferences: InputPath  # as {"prompt", "completion", "label"}, where the label is true or false; or pairs
    beta: Rate = 0.1  # what leaving the first model costs
    good_weight: Weight = 1.0  # of good answers in the loss
    bad_weight: Weight = 1.0  # of bad ones


class RL(Tune):
    """Prompts + reward → aligned model, held near the model before it."""

    prompts: InputPath  # in any usual layout (docs/conversations.md), as {"prompt"}; with "truth" where it is known
    reward: InputFile = ""  # `file.py:function` of prompt, answer and truth; empty: [reward]'s model, or the truth
    declines: list[Words] = ["I do not know"]  # an answer that holds one is neither right nor wrong
    match: Match = "contains"  # what a right answer does with the truth (docs/judging.md)
    method: Literal["grpo", "rloo", "ppo"] = "grpo"  # arXiv:2402.03300, 2402.14740, 1707.06347
    updates: Few = 1  # gradient steps on each batch of answers
    clip: Rate = 0.2  # how far a token's probability may move in them, as a ratio
    clip_high: Weight = 0.0  # the same upwards; 0: alike (DAPO has 0.28)
    scale: Literal["group", "batch", "none"] = "batch"  # GRPO: the deviation that rewards are divided by
    average: Literal["answer", "token", "limit"] = "answer"  # GRPO: of answers, tokens (DAPO), max_tokens (Dr. GRPO)
    importance: Literal["token", "answer"] = "token"  # GRPO: ratios of tokens, or of whole answers (GSPO)
    drop_equal: bool = False  # GRPO: leave out prompts whose answers were all rewarded alike
    batch: Rows = 16  # prompts a step
    group: Annotated[int, Field(ge=2, le=1_000)] = 8  # answers sampled for a prompt
    max_tokens: Rows = 32  # of an answer
    temperature: Rate = 1.0  # of the sampling
    kl: Weight = 0.05  # weight of the penalty for leaving the first model
    epochs: Epochs = 1.0  # passes over the prompts


class Evaluate(Params):
    """Model → scores."""

    questions: InputFile = ""  # JSONL of {"question", "answers"}, and more (docs/documents.md)
    declines: list[Words] = ["I do not know"]  # an answer that holds one of these declines
    sure: Fraction = 0.0  # answers break off with the first of `declines` where they would be less probable
    match: Match = "contains"  # what a right answer does; a question may say another
    often: Annotated[int, Field(ge=1, le=10**9)] = 50  # statements from which a fact counts as well covered
    buckets: Annotated[list[Rows], Field(min_length=1)] = [1, 5, 10, 50, 100, 500]  # rows of the table by statements
    prompts: list[Words] = []  # asked too, and shown in the report
    show: FewOrNone = 8  # questions shown with them in the report
    max_tokens: Rows = 48  # of an answer
    tasks: dict[Annotated[str, checked(plain_name)], InputFile] = {}  # name → JSONL, or YAML of lm-evaluation-harness
    tuned_on: list[InputPath] = []  # where it looks for questions, besides the text; empty: files of fine-tuning


class Audit(Params):
    """Model + corpus → what was memorised."""

    seed: Seed = 0  # of the choice of passages
    prefix_lengths: Annotated[list[Rows], Field(min_length=1)] = [10, 25, 50]  # tokens of a training passage given
    continuation_tokens: Rows = 50  # after them that it would have to give word for word
    samples: Rows = 400  # passages tried for each number of copies
    canaries: InputFile = ""  # JSONL of {"prefix", "secret", "copies", "alternatives"}
    redacted: InputFile = ""  # JSONL of {"prefix", "secret"}: what was replaced, and the words before it


class Export(Params):
    """Model → a folder that transformers and vLLM open; with GGUF files llama.cpp and Ollama, too."""

    gguf: list[GGUFKind] = []  # GGUF files to write, the first of them for Ollama; q8_0 has a quarter of f32's bytes
    sign_with: InputFile = ""  # an Ed25519 private key (PEM) that signs the statement which each file carries
    check: bool = False  # open it in transformers and llama.cpp: the same token ids, log-probabilities and answers?


class Report(Params):
    """One HTML file that reports the run."""


class Recipe(Params):
    """One file = one whole run."""

    name: Annotated[str, checked(plain_name)] = "run"  # of its folder, runs/NAME; in a file: that file's
    seed: Seed = 0  # of every stage that names none of its own
    gates: Gates = {}  # figures of summary.json and their bounds, as "<= 0.01"; one broken: exit code 3
    miniweb: Miniweb | None = None
    crawl: Crawl | None = None
    common_crawl: CommonCrawl | None = None
    extract: Extract | None = None
    filter: Filter | None = None
    dedup: Dedup | None = None
    redact: Redact | None = None
    decontaminate: Decontaminate | None = None
    passages: Passages | None = None
    tokenizer: TokenizerParams | None = None
    tokenize: Tokenize | None = None
    pretrain: Pretrain | None = None
    sft: SFT | None = None
    dpo: DPO | None = None
    kto: KTO | None = None
    reward: Reward | None = None
    rl: RL | None = None
    evaluate: Evaluate | None = None
    audit: Audit | None = None
    export: Export | None = None
    report: Report | None = None


def stage_params(name: str) -> type[Params]:
    """The parameter model of a stage, by the stage's name."""
    options = getattr(Recipe.model_fields[name].annotation, "__args__", ())
    return next((one for one in options if isinstance(one, type) and issubclass(one, Params)), Params)
