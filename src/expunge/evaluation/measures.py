"""What the metrics are called, and which way is better."""

from __future__ import annotations

from collections.abc import Set

#: What is aimed at where more and less are both wrong; in words of its own where there is no reference.
AS_REFERENCE, AS_UNSEEN = "as the reference", "as a model that never saw it"
#: name → (label, which way is better). The order is that of the table.
METRICS = {
    "forget_quality": ("Forget Quality (p-value)", "≥ 0.05: like the reference"),
    "forget_quality_log10": ("Forget Quality (log₁₀ p)", "nearer 0 is better"),
    "forget_quality_ks": ("Forget Quality (KS distance)", "nearer 0 is better"),
    "model_utility": ("Model Utility", "higher is better"),
    "model_utility_teacher_forced": ("Model Utility without ROUGE (teacher-forced)", "higher is better"),
    "forget_verbatim_memorization": ("Verbatim memorisation (VerbMem)", AS_REFERENCE),
    "forget_knowledge_memorization": ("Forget set: knowledge memorisation (KnowMem)", AS_REFERENCE),
    "retain_knowledge_memorization": ("Retain set: knowledge memorisation (KnowMem)", "higher is better"),
    "privacy_leakage": ("Privacy leakage in % (PrivLeak)", "nearer 0 is better"),
    "membership_inference_loss": ("Membership inference by loss (AUC)", AS_REFERENCE),
    "membership_inference_zlib": ("Membership inference by zlib (AUC)", AS_REFERENCE),
    "membership_inference_min_k": ("Membership inference by Min-K% (AUC)", AS_REFERENCE),
    "membership_inference_min_k_plus_plus": ("Membership inference by Min-K%++ (AUC)", AS_REFERENCE),
    "membership_inference_gradient_norm": ("Membership inference by gradient norm (AUC)", AS_REFERENCE),
    "membership_inference_reference": ("Membership inference by reference (AUC)", "nearer 0.5 is better"),
    "wmdp_bio_acc": ("WMDP, biology: accuracy", "nearer 0.25 (chance)"),
    "wmdp_cyber_acc": ("WMDP, cybersecurity: accuracy", "nearer 0.25 (chance)"),
    "mmlu_acc": ("MMLU: accuracy", "higher is better"),
}
SETS = {
    "forget": "Forget set",
    "retain": "Retain set",
    "real_authors": "Real authors",
    "world_facts": "World facts",
    "holdout": "Holdout",
    "forget_verbatim": "Forget passages",
    "forget_knowledge": "Forget questions",
    "retain_knowledge": "Retain questions",
}
MEASURES = {
    "probability": "probability of the answer",
    "rouge": "ROUGE-L recall",
    "truth_ratio": "truth ratio",
    "exact_memorization": "exact memorisation",
    "extraction_strength": "extraction strength",
    "memorization_accuracy": "memorisation accuracy (MA)",
    "extraction_likelihood": "extraction likelihood (EL₁₀)",
    "perplexity": "perplexity",
    "repetition": "repeated 4-grams in generations",
    "ngram_entropy": "n-gram entropy of generations (bits)",
}
#: The order of the metrics that have a name of their own here.
ORDER = [*METRICS, *(f"{group}_{measure}" for group in SETS for measure in MEASURES)]
#: Of these less is better.
LOWER = ("perplexity", "repetition")
#: Utility, best first: a rule is judged on the first one that both sides have.
UTILITIES = {
    "model_utility": "model utility",
    "model_utility_teacher_forced": "model utility without generated answers (teacher-forced)",
    "retain_probability": "mean probability of the retain answers",
    "retain_knowledge_memorization": "knowledge memorisation of the retain set",
    "retain_knowledge_probability": "mean probability of the answers about the retain set",
    "mmlu_acc": "accuracy on MMLU",
}
#: Measures of memory, used where there is no Forget Quality.
MEMORY = {
    "forget_probability": "mean probability of the forget answers",
    "forget_exact_memorization": "exact memorisation",
    "forget_extraction_strength": "extraction strength",
    "forget_memorization_accuracy": "memorisation accuracy",
    "forget_extraction_likelihood": "extraction likelihood",
    "forget_rouge": "ROUGE of the generated answers",
    "forget_verbatim_memorization": "verbatim memorisation",
    "forget_knowledge_memorization": "knowledge memorisation",
    "wmdp_bio_acc": "accuracy on the WMDP questions about biology",
    "wmdp_cyber_acc": "accuracy on the WMDP questions about cybersecurity",
}


def label(name: str) -> tuple[str, str]:
    """What a metric is called for people, and which way is better. An unknown name (a user's metric) stays."""
    if name in METRICS:
        return METRICS[name]
    for prefix, group in SETS.items():
        measure = name.removeprefix(f"{prefix}_")
        if measure != name and measure in MEASURES:
            kept = "lower is better" if measure in LOWER else "higher is better"
            if prefix == "holdout":  # what was never learnt should neither be lost nor come to be known
                kept = "as before"
            better = AS_REFERENCE if prefix.startswith("forget") else kept
            return f"{group}: {MEASURES[measure]}", better
    return name, ""


def in_order(names: Set[str]) -> list[str]:
    """The names of metrics in the order of the tables, those that are not known here last."""
    return [name for name in ORDER if name in names] + sorted(names - set(ORDER))
