"""Looks at manifests that `helm template` rendered: valid for Kubernetes, and the pod is what the chart promises.

Called by .ci/helm, which knows what each variant should hold. Prints every mistake, not only the first.
"""

import argparse
import json
import sys
import warnings

import kubernetes_validate
import yaml

CUSTOM_KINDS = {"PrometheusRule", "ServiceMonitor"}  # no schema of Kubernetes' own
USER = 65532

mistakes = []


def expect(what, actual, wanted):
    if actual != wanted:
        mistakes.append(f"{what} is {actual!r}, not {wanted!r}")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("manifests")
    parser.add_argument("--kubernetes", nargs="*", default=[], help="versions to validate for")
    parser.add_argument("--kinds", nargs="*", help="the kinds that should be there, each as often as it should be")
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--grace", type=int, help="terminationGracePeriodSeconds")
    parser.add_argument("--probes-port", type=int, default=9900)
    parser.add_argument("--service-port", type=int, default=8080, help="the service's target")
    parser.add_argument("--config-to", help="where to write the outrigger.yaml of the ConfigMap")
    parser.add_argument("--config-holds", help="a text that outrigger.yaml should hold")
    parser.add_argument("--dashboard", help="the JSON file that a ConfigMap should hold")
    parser.add_argument("--rules-to", help="where to write the PrometheusRule's groups, as a rule file")
    parser.add_argument("--same-pod-as", help="other manifests, whose pod template should be the same")
    return parser.parse_args()


def load(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def one(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    if len(found) != 1:
        sys.exit(f"there should be one {kind}, not {len(found)}")
    return found[0]


def configuration(documents):
    """The ConfigMap with outrigger.yaml; another one may hold the dashboard."""
    return one([d for d in documents if d["kind"] == "ConfigMap" and "outrigger.yaml" in d["data"]], "ConfigMap")


def check_schemas(documents, versions):
    for version in versions:
        for document in documents:
            if document["kind"] in CUSTOM_KINDS:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # a missing schema must not pass
                    kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                mistakes.append(f"Kubernetes {version}, {document['kind']}, {path}: {error.message}")


def check_sidecar(pod, probes_port):
    sidecar = pod["initContainers"][0]
    expect("the first init container", sidecar["name"], "outrigger")
    expect("restartPolicy of the sidecar", sidecar.get("restartPolicy"), "Always")
    expect("the command line", sidecar["args"], ["run", "--config", "/etc/outrigger/outrigger.yaml"])
    expect("containers named outrigger beside the sidecar", [c["name"] for c in pod["containers"] if c["name"] == "outrigger"], [])
    check_probes(sidecar, probes_port)
    security = sidecar["securityContext"]
    expect(
        "securityContext of the sidecar",
        security,
        {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    )
    for limit in ("cpu", "memory"):
        if not sidecar["resources"].get("limits", {}).get(limit):
            mistakes.append(f"the sidecar has no limit of {limit}")
    return sidecar


def check_probes(sidecar, port):
    expect("ports of the sidecar", sidecar.get("ports"), [{"name": "probes", "containerPort": port}])
    for probe, path in (("startupProbe", "/ready"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
        expect(probe, sidecar.get(probe, {}).get("httpGet"), {"path": path, "port": "probes"})
    expect("preStop of the sidecar", sidecar.get("lifecycle"), None)


def check_mount(pod, sidecar, config_map):
    mounts = [mount for mount in sidecar["volumeMounts"] if mount["mountPath"] == "/etc/outrigger"]
    expect("mounts at /etc/outrigger", mounts, [{"name": "outrigger-config", "mountPath": "/etc/outrigger", "readOnly": True}])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    # No `items`, no `subPath`: the kubelet then swaps the whole directory when the ConfigMap changes.
    expect("the volume", volumes.get("outrigger-config"), {"name": "outrigger-config", "configMap": {"name": config_map}})
    for mount in sidecar["volumeMounts"]:
        if mount["name"] not in volumes:
            mistakes.append(f"the sidecar mounts {mount['name']}, which is no volume of the pod")


def check_pod(documents, wanted):
    deployment = one(documents, "Deployment")
    template = deployment["spec"]["template"]
    pod = template["spec"]
    config_map = configuration(documents)
    sidecar = check_sidecar(pod, wanted.probes_port)
    check_mount(pod, sidecar, config_map["metadata"]["name"])
    for key in template["metadata"].get("annotations", {}):
        if "checksum" in key:
            mistakes.append(f"the annotation {key} restarts pods for a configuration that is read live")
    if wanted.replicas is not None:
        expect("replicas", deployment["spec"].get("replicas"), wanted.replicas)
    if wanted.grace is not None:
        expect("terminationGracePeriodSeconds", pod.get("terminationGracePeriodSeconds"), wanted.grace)
    return template["metadata"]["labels"]


def check_services(documents, wanted, pod_labels):
    for service in (document for document in documents if document["kind"] == "Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        if not spec["selector"].items() <= pod_labels.items():
            mistakes.append(f"the service {name} selects {spec['selector']}, the pods are {pod_labels}")
        port = wanted.probes_port if name.endswith("-metrics") else wanted.service_port
        expect(f"the target of the service {name}", spec["ports"][0]["targetPort"], port)
    for monitor in (document for document in documents if document["kind"] == "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [d["metadata"]["name"] for d in documents if d["kind"] == "Service" and selector <= d["metadata"]["labels"].items()]
        expect("services that the monitor selects", len(chosen), 1)
        expect("what the monitor scrapes", [(e["port"], e["path"]) for e in monitor["spec"]["endpoints"]], [("metrics", "/metrics")])
        # Else the operator's label `endpoint` hides the metrics' own.
        dropped = [r["regex"] for e in monitor["spec"]["endpoints"] for r in e["relabelings"] if r["action"] == "labeldrop"]
        expect("labels of the target that the monitor drops", dropped, ["endpoint"])


def check_config(documents, wanted):
    text = configuration(documents)["data"]["outrigger.yaml"]
    if wanted.config_holds and wanted.config_holds not in text:
        mistakes.append(f"outrigger.yaml does not hold {wanted.config_holds!r}")
    if wanted.config_to:
        with open(wanted.config_to, "w", encoding="utf-8") as file:
            file.write(text)


def check_dashboard(documents, path):
    found = [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["labels"].get("grafana_dashboard") == "1"]
    texts = [text for config_map in found for text in config_map["data"].values()]
    with open(path, encoding="utf-8") as file:
        wanted = json.load(file)
    if [json.loads(text) for text in texts] != [wanted]:
        mistakes.append(f"the ConfigMaps with the label of dashboards do not hold {path}, once and whole")


def write_rules(documents, path):
    groups = one(documents, "PrometheusRule")["spec"]["groups"]
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": groups}, file)


def main():
    wanted = arguments()
    documents = load(wanted.manifests)
    if wanted.same_pod_as:
        pods = [one(d, "Deployment")["spec"]["template"] for d in (documents, load(wanted.same_pod_as))]
        expect("the pod template", pods[0], pods[1])
    else:
        if wanted.kinds is not None:
            expect("the kinds", sorted(document["kind"] for document in documents), sorted(wanted.kinds))
        check_schemas(documents, wanted.kubernetes)
        check_services(documents, wanted, check_pod(documents, wanted))
        check_config(documents, wanted)
        if wanted.dashboard:
            check_dashboard(documents, wanted.dashboard)
        if wanted.rules_to:
            write_rules(documents, wanted.rules_to)
    for mistake in mistakes:
        print(f"{wanted.manifests}: {mistake}", file=sys.stderr)
    sys.exit(1 if mistakes else 0)


main()
