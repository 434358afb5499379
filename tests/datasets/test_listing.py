from adaloraqat.datasets.listing import files_below


def test_links_are_followed_out_of_the_tree_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "a" / "one.PNG").touch()
    (elsewhere / "two.png").touch()
    (root / "b").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)  # again
    (root / "d").symlink_to(root / "a")  # is there by itself
    (elsewhere / "up").symlink_to(tmp_path)  # a loop
    (elsewhere / "round").symlink_to(elsewhere)
    assert files_below(root, {".png"}) == [root / "a" / "one.PNG", root / "b" / "two.png"]
