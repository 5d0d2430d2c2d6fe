"""Reads Prometheus text on standard input with prometheus-client's own parser; prints the samples as JSON."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
print(json.dumps([[f.type, s.name, s.labels, s.value] for f in families for s in f.samples]))
