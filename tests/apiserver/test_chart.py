"""The chart: it lints, refuses typos, renders the same each time, and the API server takes all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from tests.apiserver.chart import CHART, OPERATOR, ROOT, render, run_helm


def objects(*arguments):
    return [one for one in yaml.safe_load_all(render(*arguments)) if one]


def find(kind, *arguments):
    return [one for one in objects(*arguments) if one["kind"] == kind]


def test_it_lints():
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_the_same_values_render_the_same_text():
    assert render() == render()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("operator.pollSecond=1", "pollSecond"),
        ("replicas=-1", "replicas"),
        ("image.digest=latest", "digest"),
        ("operator.namespaces={Media}", "namespaces"),
        ("metricz.enabled=true", "metricz"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value, named):
    done = run_helm("template", OPERATOR, str(CHART), "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_crd_is_kept_at_uninstall_unless_that_is_switched_off():
    def policy(*arguments):
        (crd,) = find("CustomResourceDefinition", *arguments)
        return (crd["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")

    assert policy() == "keep"
    assert policy("--set", "crds.keep=false") is None
    assert find("CustomResourceDefinition", "--set", "crds.enabled=false") == []


def test_namespaced_mode_asks_for_no_cluster_wide_right():
    arguments = ("--set", "operator.namespaces={media,voice}")
    assert find("ClusterRole", *arguments) == []
    assert find("ClusterRoleBinding", *arguments) == []
    roles = {one["metadata"]["namespace"] for one in find("Role", *arguments)}
    assert roles == {"media", "voice", OPERATOR}


def test_no_rule_has_a_wildcard_and_secrets_can_only_be_read_by_name():
    rules = [rule for kind in ("ClusterRole", "Role") for one in find(kind) for rule in one["rules"]]
    assert all("*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"] for rule in rules)
    assert [rule["verbs"] for rule in rules if "secrets" in rule["resources"]] == [["get"]]


def test_a_digest_wins_over_a_tag():
    digest = "sha256:" + "a" * 64
    (deployment,) = find("Deployment", "--set", f"image.digest={digest}", "--set", "image.tag=x")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith("@" + digest)


def test_each_environment_variable_is_a_setting_of_the_operator():
    from pool_operator.cli.operator import ENVIRONMENT_PREFIX, read_settings

    arguments = ("--set", "operator.namespaces={media,voice}", "--set", "operator.allowedRedisHosts={*.media.svc}")
    (deployment,) = find("Deployment", *arguments)
    entries = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    settings = read_settings([], {entry["name"]: entry.get("value", "own") for entry in entries})
    assert settings.namespaces == ("media", "voice")
    assert settings.allowed_redis_hosts == ("*.media.svc",)
    assert settings.lease_namespace == "own"
    known = {ENVIRONMENT_PREFIX + name.upper() for name in type(settings).model_fields}
    assert {entry["name"] for entry in entries} <= known


def test_copies_and_rendered_manifests_are_up_to_date():
    command = [sys.executable, str(ROOT / "hack" / "sync_chart.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_api_server_takes_the_manifests_in_a_restricted_namespace(kubectl):
    done = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests" / "install.yaml"))
    try:
        assert f"deployment.apps/{OPERATOR} serverside-applied" in done
        # the restricted standard judges pods: a Deployment only warns
        template = find("Deployment")[0]["spec"]["template"]
        body = {"apiVersion": "v1", "kind": "Pod", **template}
        body["metadata"] |= {"name": "probe", "namespace": OPERATOR}
        answer = kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(body))
        assert "pod/probe created" in answer
        assert "enforce: restricted" in kubectl("get", "namespace", OPERATOR, "-o", "yaml")
    finally:
        kubectl("delete", "deployment", OPERATOR, "--namespace", OPERATOR)
        kubectl("delete", "clusterrolebinding,clusterrole", "-l", "app.kubernetes.io/part-of=processing-pool")
