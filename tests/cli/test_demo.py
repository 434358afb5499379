"""The demo's command: what it refuses, and how it ends."""


def test_a_folder_that_is_no_demo_is_refused_in_one_sentence(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    ended = run("demo", "--out", "mine", "--set", "base.weights=null", "--set", "base.architecture=tiny")
    assert ended.code == 2
    assert ended.err.strip() == (
        "mine is not empty and is not an earlier demo, so it is left alone; choose another --out."
    )
    assert (tmp_path / "mine" / "file").read_text() == "x"


def test_an_impossible_setting_is_refused_before_any_work(run, tmp_path):
    ended = run("demo", "--out", "new", "--set", "stages.0.r_target=99")
    assert ended.code == 2
    assert "r_target 99 exceeds r_max" in ended.err
    assert not (tmp_path / "new").exists()
