"""A Kubernetes API server in memory, for the local stack and for tests.

What it is: the API of a small cluster, good for what people type into kubectl. Objects live in one
versioned store, and everything that can be read is derived from it: get, list, Table, watch, paging,
409 and 410. Built-in types, their OpenAPI and their merge rules are generated; custom resources defined
at run time get the same treatment. Authentication (bearer tokens), impersonation and RBAC decide for
real. Controllers for Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, Services, namespaces,
owner references and aggregated roles keep the objects moving.

What it leaves out, so that nobody takes it for more:
- No container runs. Pods are declared running, job pods complete, readiness is immediate; `exec`,
  `attach` and `port-forward` get a 501 that says so, and so do `logs`, unless somebody wrote the log into
  the pod's annotation (`pod_logs`). A grace period ends at once.
- No persistence, no replication: the state dies with the process.
- Rolling updates scale the new ReplicaSet at once; maxSurge and progress deadlines are not modelled.
  CronJobs never fire, autoscalers never scale, quotas and limit ranges are stored, not enforced;
  volumes and claims are never bound; no kube-root-ca.crt ConfigMap; no admission plugins or webhooks.
- Custom resources: no conversion webhooks and no CEL validation rules.
- Protobuf is understood in requests for the kinds that kubectl sends, never used in answers.
- No OpenAPI v2, no proxying, no API aggregation, no ETags but those of discovery and OpenAPI.
"""
