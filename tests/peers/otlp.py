"""Reads a request of OTLP in JSON by the messages of opentelemetry-proto, which know no other names of fields, and prints
each span as a line: trace, span, parent, name, kind, nanoseconds, status.

    otlp.py REQUEST

OTLP has identifiers in hexadecimal digits where JSON of protobuf has base64: they are turned first.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

with open(sys.argv[1]) as file:
    request = json.load(file)
for resource in request["resourceSpans"]:
    for scope in resource["scopeSpans"]:
        for span in scope["spans"]:
            for name in ("traceId", "spanId", "parentSpanId"):
                if name in span:
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
message = json_format.ParseDict(request, ExportTraceServiceRequest())
for resource in message.resource_spans:
    for scope in resource.scope_spans:
        for span in scope.spans:
            ids = [own.hex() or "-" for own in (span.trace_id, span.span_id, span.parent_span_id)]
            length = span.end_time_unix_nano - span.start_time_unix_nano
            print(*ids, span.name.replace(" ", "_"), span.kind, length, span.status.code)
