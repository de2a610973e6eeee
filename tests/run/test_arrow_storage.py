"""Settings and the files of Ray lie in one place, whatever characters its name has."""

import boto3
import pytest
import ray
import s3fs
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSelector, FileType
from ray.train.v2._internal.execution.storage import StorageContext

from raclib.errors import UserError
from raclib.run.arrow_storage import arrow_storage
from raclib.run.paths import storage
from raclib.serving.arrow import write_table
from raclib.training.claim import claim

NAMES = ("proj#2", "a b", "a%20b", "a?b", "a[12]", "ä-Ωя", "O'Brien ü #[1] %41 ?x")


@pytest.fixture(scope="module")
def s3():
    """A client of an S3 server with an empty bucket, `bucket`, that everyone here finds."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


class Unread(ray.data.Dataset):
    """A dataset of nothing, for which no Ray starts."""

    def __init__(self):
        pass

    def __del__(self):
        pass


def keys_of(client, prefix: str) -> set[str]:
    found = client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return {item["Key"] for item in found}


@pytest.mark.parametrize("name", NAMES)
def test_ray_train_and_settings_have_one_prefix(s3, name):
    uri = storage(f"s3://bucket/one/{name}/")
    claim(f"{uri}/run", {})
    filesystem, path = arrow_storage(uri)
    context = StorageContext(path, "run", filesystem)
    with filesystem.open_output_stream(context.checkpoint_manager_snapshot_path) as file:
        file.write(b"{}")
    files = ("settings.json", ".validate_storage_marker", "checkpoint_manager_snapshot.json")
    assert keys_of(s3, f"one/{name}/") == {f"one/{name}/run/{file}" for file in files}
    assert filesystem.get_file_info(path).type is FileType.Directory
    assert len(filesystem.get_file_info(FileSelector(f"{path}/run"))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_this_machine_is_that_folder(tmp_path, name):
    uri = storage(str(tmp_path / name))
    claim(f"{uri}/run", {})
    StorageContext(arrow_storage(uri)[1], "run", arrow_storage(uri)[0])
    found = sorted(file.name for file in (tmp_path / name / "run").iterdir())
    assert found == [".validate_storage_marker", "settings.json"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_checkpoint_is_deleted_by_its_name(s3):
    filesystem, path = arrow_storage("s3://bucket/rm")
    for name in ("run[12]", "run1", "run2"):
        s3.put_object(Bucket="bucket", Key=f"rm/{name}/checkpoint/state.pt", Body=b"x")
    filesystem.delete_dir(f"{path}/run[12]/checkpoint")
    assert keys_of(s3, "rm/") == {f"rm/{name}/checkpoint/state.pt" for name in ("run1", "run2")}


def test_a_dataset_is_written_to_the_same_place(s3, monkeypatch):
    def write(dataset, path, filesystem):
        with filesystem.open_output_stream(f"{path}/0.parquet") as file:
            file.write(b"rows")

    monkeypatch.setattr(ray.data.Dataset, "write_parquet", write)
    write_table(Unread(), "s3://bucket/data/a b#2/t")
    assert keys_of(s3, "data/") == {"data/a b#2/t/0.parquet"}


def test_what_another_wrote_is_seen(s3):
    filesystem, path = arrow_storage("s3://bucket/seen")
    assert filesystem.get_file_info(path).type is FileType.NotFound
    s3.put_object(Bucket="bucket", Key="seen/run/x", Body=b"x")
    assert filesystem.get_file_info(f"{path}/run").type is FileType.Directory
    s3.delete_object(Bucket="bucket", Key="seen/run/x")
    assert filesystem.get_file_info(f"{path}/run").type is FileType.NotFound


def test_ray_train_makes_no_bucket(s3):
    filesystem, path = arrow_storage("s3://missing/runs")
    with pytest.raises(UserError, match=r"^s3://missing"):
        StorageContext(path, "run", filesystem)
    assert "missing" not in [each["Name"] for each in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("s3://bucket//proj/./runs/", "s3://bucket/proj/runs"),
        ("s3://bucket/proj#2?x=%20", "s3://bucket/proj#2?x=%20"),
        ("/data//runs/", "/data/runs"),
        ("file:///data/a%20b#c", "/data/a%20b#c"),
    ],
)
def test_a_storage_path_is_written_in_one_way(given, place):
    assert storage(given) == place
