"""The names of figures that `summary.json` of a recipe's run will hold, as far as they are known before it runs."""

from __future__ import annotations

import re

from gristmill.evaluation.figures import FIGURES
from gristmill.recipe import Recipe
from gristmill.settings.stages import CORPUS, MODEL

DOCUMENTS = "documents_in documents_out bytes_in bytes_out bytes_edited"
TRAINED = "loss steps skipped_steps rollbacks failed_checkpoints bytes_sent_a_step"
READ = f"{TRAINED} left_out too_long"
SHAPE = "layers width heads kv_heads head_dim ffn_width context batch muon_lr embed_lr head_lr"
OVERFITS = "gap_opens_at_step heldout_rises_at_step"
ODD = "reward_hacked entropy_collapsed nothing_compared kl_blew_up length_drifted"
OF_STAGE = {  # all have `seconds`
    "miniweb": "pages resources words facts statements",
    "crawl": "urls pages copies requests bytes urls_left late_hosts fruitless_hosts",
    "common_crawl": "records pages bytes",
    "extract": f"{DOCUMENTS} records_without_page",
    "filter": f"{DOCUMENTS} estimated_words lines_removed",
    "dedup": f"{DOCUMENTS} lines_cut passages_cut",
    "redact": f"{DOCUMENTS} documents_redacted",
    "decontaminate": f"{DOCUMENTS} items items_too_short items_met items_unreadable",
    "passages": f"{DOCUMENTS} pages passages reading_examples heldout_reading_examples",
    "tokenizer": "documents distinct_words words_left_out vocab_size bytes_per_token",
    "tokenize": "documents_in documents_out train_tokens train_bytes heldout_tokens heldout_bytes bytes_per_token",
    "pretrain": f"{TRAINED} {SHAPE} {OVERFITS} tokens tokens_repeated parameters heldout_bpb train_bpb gap_growth"
    " epochs flops",
    "sft": f"{READ} {OVERFITS} conversations heldout_conversations examples heldout_examples thoughts_as_text"
    " trained_parameters heldout_loss_before heldout_loss_after text_bpb_before text_bpb_after",
    "dpo": f"{READ} pairs heldout_pairs heldout_accuracy",
    "kto": f"{READ} good bad",
    "reward": f"{READ} pairs heldout_pairs train_accuracy heldout_accuracy likelihood_weight",
    "rl": f"{READ} prompts heldout_prompts answers kl reward_before reward_after truth_before truth_after right_before"
    f" right_after likelihood_weight {' '.join(f'{name}_at_step' for name in ODD.split())}",
    "evaluate": f"questions left_out too_long heldout_bpb calibration_error risk_coverage_area seen_accuracy"
    f" {' '.join(FIGURES)}",
    "audit": "passages canaries redacted left_out too_long extractable_fraction heldout_extractable_fraction"
    " beginnings_extractable_fraction verbatim_share redacted_fraction canary_exposure_bits canary_exposure_possible"
    " canary_fraction membership_auc bits_memorised bits_per_parameter",
    "export": "bytes",
    "report": "sections bytes",
}
# of figures that what is read names: kinds and splits of questions, kinds of records, rules
READ_FROM = re.compile(
    r"evaluate\.(declined\..+|.+_accuracy|dev_.+)|extract\.records_without_page\..+|filter\.lines_removed\..+"
    r"|redact\..+|check\..+"
)


def known_figures(recipe: Recipe) -> set[str]:
    """The names that are known; none but these comes from a stage, unless `READ_FROM` has it."""
    stages = [name for name in OF_STAGE if getattr(recipe, name) is not None]
    found = {"run.wall_seconds", "run.peak_rss_bytes"}
    found |= {f"{stage}.{figure}" for stage in stages for figure in [*OF_STAGE[stage].split(), "seconds"]}
    if recipe.evaluate:
        figures = [figure + end for figure in FIGURES for end in ("", "_difference", "_low", "_high")]
        found |= {f"{stage}.{figure}" for stage in stages if stage in MODEL for figure in figures}
    return found | ({"corpus.documents_kept"} if {*stages} & {*CORPUS} else set())
