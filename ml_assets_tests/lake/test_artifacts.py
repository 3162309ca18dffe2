"""Both kinds of stores keep the same promises: whole folders, verified copies, names that stay in the store."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from ml_assets.errors import LakeError
from ml_assets.lake.artifacts import MANIFEST, Artifacts, FolderArtifacts, UrlArtifacts, artifacts_at
from ml_assets.ml import manifest


class ArtifactsContract:
    """`store` is a fixture of the class that inherits it."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Artifacts:
        raise NotImplementedError

    def put(self, store: Artifacts, name: str, **files: str) -> None:
        with store.put(name) as folder:
            (folder / "deep").mkdir(parents=True)
            for file, text in files.items():
                (folder / "deep" / file).write_text(text)

    def half(self, store: Artifacts, name: str) -> None:
        with store.put(name) as path:
            path.mkdir() if name == "t/1" else path.write_text("half")
            raise ZeroDivisionError

    def test_a_folder_is_there_whole_with_its_manifest(self, store: Artifacts) -> None:
        with store.put("t/1.0.0") as folder:
            assert not folder.exists()
            assert folder.name == "1.0.0"
            folder.mkdir()
            (folder / "model").write_text("m")
            assert not store.exists("t/1.0.0")
        found = store.fetch("t/1.0.0")
        assert (found / "model").read_text() == "m"
        assert set(manifest.verify(found)) == {"model"}
        assert store.exists("t/1.0.0")
        assert store.names("t") == ["1.0.0"]
        assert store.names() == ["t"]
        assert store.under("t").fetch("1.0.0").joinpath("model").read_text() == "m"

    def test_a_manifest_of_its_own_stays(self, store: Artifacts) -> None:
        with store.put("t/1") as folder:
            folder.mkdir()
            (folder / "model").write_text("m")
            digest = manifest.write(folder, {"pipeline": "t"})
        manifest.verify(store.fetch("t/1"), digest)

    def test_what_breaks_off_leaves_nothing(self, store: Artifacts) -> None:
        for name in ("t/1", "t/report.html"):
            with pytest.raises(ZeroDivisionError):
                self.half(store, name)
            assert not store.exists(name)
        assert store.names("t") == []
        assert not store.fetch("t/1").exists()
        self.put(store, "t/1", a="1")
        assert store.exists("t/1")

    def test_a_folder_is_never_written_twice_and_a_file_is_replaced(self, store: Artifacts) -> None:
        self.put(store, "t/1", a="1")
        with pytest.raises(LakeError, match="never written twice"):
            self.put(store, "t/1", a="2")
        assert (store.fetch("t/1") / "deep" / "a").read_text() == "1"
        for text in ("one", "two"):
            with store.put("t/report.html") as file:
                file.write_text(text)
            assert store.fetch("t/report.html").read_text() == text
        assert store.names("t") == ["1", "report.html"]

    def test_what_is_removed_is_gone_and_can_be_put_again(self, store: Artifacts) -> None:
        self.put(store, "t/1", a="1", b="2")
        store.fetch("t/1")
        for _ in range(2):
            store.remove("t/1")
            assert not store.exists("t/1")
        self.put(store, "t/1", a="3")
        assert (store.fetch("t/1") / "deep" / "a").read_text() == "3"
        assert not (store.fetch("t/1") / "deep" / "b").exists()

    @pytest.mark.parametrize("name", ["../out", "/etc", "", "a/../../b"])
    def test_a_name_stays_in_the_store(self, store: Artifacts, name: str) -> None:
        for use in (store.fetch, store.exists, store.remove, store.link, store.under):
            with pytest.raises(LakeError, match="stays in its store"):
                use(name)

    def test_what_is_not_there_is_told_by_who_opens_it(self, store: Artifacts) -> None:
        assert not store.exists("none/1")
        assert store.names("none") == []
        assert not store.fetch("none/1").exists()


class TestFolder(ArtifactsContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Artifacts:
        return artifacts_at(tmp_path / "data", tmp_path / "cache")

    def test_a_local_folder_is_its_own_copy(self, store: Artifacts, tmp_path: Path) -> None:
        assert store == FolderArtifacts(tmp_path / "data")
        self.put(store, "t/1", a="1")
        assert store.fetch("t/1") == tmp_path / "data/t/1"
        assert store.link("t/1") == str(tmp_path / "data/t/1")


class OfUrl(ArtifactsContract):
    def test_a_copy_is_made_once_and_made_again_where_it_is_damaged(self, store: Artifacts) -> None:
        assert isinstance(store, UrlArtifacts)
        self.put(store, "t/1", a="1")
        first = store.fetch("t/1") / "deep" / "a"
        inode = first.stat().st_ino
        assert (store.fetch("t/1") / "deep" / "a").stat().st_ino == inode
        first.write_text("damaged")
        assert (store.fetch("t/1") / "deep" / "a").read_text() == "1"
        assert store.link("t/1") == f"{store.url}/t/1"

    def test_files_that_do_not_match_the_manifest_are_refused(self, store: Artifacts) -> None:
        assert isinstance(store, UrlArtifacts)
        self.put(store, "t/1", a="1")
        filesystem, path = store._at(store.link("t/1"))
        filesystem.pipe_file(f"{path}/deep/a", b"other")
        with pytest.raises(LakeError, match="not the one that was put"):
            store.fetch("t/1")
        filesystem.pipe_file(f"{path}/{MANIFEST}", b'{"files": {"../../x": "0"}}')
        with pytest.raises(LakeError, match="stays in its store"):
            store.fetch("t/1")

    def test_an_upload_that_broke_off_is_no_folder(self, store: Artifacts) -> None:
        assert isinstance(store, UrlArtifacts)
        self.put(store, "t/1", a="1", b="2")
        filesystem, path = store._at(store.link("t/1"))
        filesystem.rm_file(f"{path}/{MANIFEST}")  # it is written last
        assert not store.exists("t/1")
        assert not store.fetch("t/1").exists()
        self.put(store, "t/1", c="3")
        assert [file.name for file in (store.fetch("t/1") / "deep").iterdir()] == ["c"]
        assert sorted(filesystem.ls(f"{path}/deep", detail=False)) == [f"{path}/deep/c"]


class TestMemory(OfUrl):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Artifacts:
        return artifacts_at(f"memory://{uuid.uuid4()}/", tmp_path / "cache")


class TestFileUrl(OfUrl):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Artifacts:
        return artifacts_at(f"file://{tmp_path}/data", tmp_path / "cache")
