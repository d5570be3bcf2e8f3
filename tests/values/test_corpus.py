"""A corpus is two texts: one to train on, one to measure losses on."""

from tamt_ray.values.text import Corpus, Text

TRAIN, VALIDATION = {"source": "dir:a.txt"}, {"source": "dir:b.txt", "part": "tail"}


def test_each_text_has_its_own_table_and_limit_and_both_share_the_rest() -> None:
    corpus = Corpus.model_validate(
        {
            "train": TRAIN, "validation": VALIDATION, "column": "words", "block_size": 64,
            "mlm_probability": 0.2, "max_train_blocks": 5, "max_validation_blocks": 7,
        }
    )  # fmt: skip
    shared = {"column": "words", "block_size": 64, "mlm_probability": 0.2}
    train = Text.model_validate({"table": TRAIN, "limit": 5, **shared})
    assert corpus.training() == train
    assert corpus.training("documents") == train.model_copy(update={"form": "documents"})
    assert corpus.evaluation() == Text.model_validate({"table": VALIDATION, "limit": 7, **shared})
    clean = {"mlm_probability": 0, "one_token": False}
    assert corpus.training(corruption="none") == train.model_copy(update=clean)
    one = {"mlm_probability": 0, "one_token": True}
    assert corpus.training(corruption="one_token") == train.model_copy(update=one)


def test_what_a_sweep_file_leaves_out_is_left_out_of_both() -> None:
    corpus = Corpus.model_validate({"train": TRAIN, "validation": VALIDATION})
    assert corpus.training() == Text.model_validate({"table": TRAIN})
    assert corpus.evaluation() == Text.model_validate({"table": VALIDATION})
