import pytest

from adaloraqat.datasets.manifest import MASK_KINDS
from adaloraqat.datasets.sources import SOURCES, find_source
from adaloraqat.errors import ManifestError


def test_every_source_speaks_of_known_masks():
    for source in SOURCES.values():
        assert set(source.kinds) <= MASK_KINDS.keys()
        assert set(source.published) <= set(source.kinds)
        assert source.licence
    published = [SOURCES[name].published[kind] for name, kind in (
        ("jsrt", "lung-field"), ("qata_cov19", "infection"), ("covid19_radiography", "lungs"),
        ("covid_qu_ex", "lungs"))]  # fmt: skip
    assert sum(max(counts) for counts in published) == 64_590  # the paper's films (arXiv 2604.01167)


@pytest.mark.parametrize(
    ("name", "wanted", "kind"),
    [
        ("jsrt", None, "lung-field"),
        ("jsrt", "lungs", "lung-field"),
        ("jsrt", "heart", "heart"),
        ("QaTa-COV19", None, "infection"),
        ("covid_qu_ex", None, "lungs"),
        ("covid_qu_ex", "infection", "infection"),
        ("v7_covid19", "lungs", "whole-lung"),
        ("folder", None, None),
        ("folder", "liver", "liver"),
    ],
)
def test_the_kind_of_mask(name, wanted, kind):
    assert find_source(name).kind(wanted) == kind


@pytest.mark.parametrize(
    ("name", "wanted", "says"),
    [
        ("qata_cov19", "lungs", "QaTa-COV19 has masks of infection, not lungs"),
        ("siim_acr", "lungs", "SIIM-ACR Pneumothorax has masks of pneumothorax, not lungs"),
        ("jsrt", "whole-lung", "JSRT has masks of lung-field or heart or clavicles, not whole-lung"),
        ("v7_covid19", "lung-field", "has masks of whole-lung, not lung-field"),
    ],
)
def test_asking_for_what_a_source_has_not(name, wanted, says, tmp_path):
    with pytest.raises(ManifestError, match=says):
        find_source(name).listing(tmp_path, wanted)


def test_unknown_sources_and_empty_folders(tmp_path):
    with pytest.raises(ManifestError, match=r"no source 'moon'.*jsrt"):
        find_source("moon")
    for name, source in SOURCES.items():
        with pytest.raises(ManifestError) as caught:
            source.listing(tmp_path)
        assert str(tmp_path) not in str(caught.value), name
        assert "\n" not in str(caught.value)
        with pytest.raises(ManifestError):
            source.listing(tmp_path / "nowhere")
