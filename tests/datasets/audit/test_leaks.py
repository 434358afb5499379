from dataclasses import replace
from pathlib import Path

from adaloraqat.datasets.audit.audit import audit


def test_a_patient_in_two_splits_and_a_copy_in_two_splits(entries, plant, changes):
    first = replace(entries[0], split="train", patient_id="p")
    second = replace(entries[1], split="test", patient_id="p")
    third = replace(entries[2], split="val")
    copy = plant(entries[2], "copy", changes["compressed"][0], split="test")
    result = audit([(Path("films.csv"), [first, second, third, copy])])
    by_patient, by_copy = result.split_leaks
    assert (by_patient["patient_id"], by_patient["splits"], by_patient["kind"]) == (
        "p",
        ["train", "test"],
        "patient",
    )
    assert (by_copy["kind"], by_copy["splits"]) == ("duplicate", ["val", "test"])
    assert sorted(by_copy["films"]) == sorted([third.id, "copy"])


def test_equal_patient_numbers_of_two_sources_are_two_patients(entries):
    films = [
        replace(entries[0], split="train", patient_id="1"),
        replace(entries[1], split="test", patient_id="1", source="elsewhere"),
    ]
    assert audit([(Path("films.csv"), films)]).split_leaks == ()


def test_a_patient_named_by_a_collection_is_one_in_every_source(entries):
    films = [
        replace(entries[0], split="train", patient_id="bimcv-S1", source="qata_cov19"),
        replace(entries[1], split="test", patient_id="bimcv-S1", source="covid_qu_ex"),
    ]
    (leak,) = audit([(Path("films.csv"), films)]).split_leaks
    assert (leak["patient_id"], leak["splits"]) == ("bimcv-S1", ["train", "test"])
    assert leak["source"] == "covid_qu_ex and qata_cov19"
