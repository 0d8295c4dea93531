#!/usr/bin/env python3
"""A provider for terraform that knows what Google's own takes, and nothing of Google: `terraform validate` and `terraform test` run with
it where the registry of providers cannot be reached. It speaks the plugin protocol 6, written out by hand, and does nothing but check.

It is started by terraform, under the name of the provider that it stands for (see run.py).
"""

import json
import os
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc

RANDOM = {
    "random_password": {
        "length": "number", "special": "bool", "min_lower": "number", "keepers": ["map", "string"], "result": "string", "id": "string",
    },
    "random_bytes": {"length": "number", "keepers": ["map", "string"], "base64": "string", "hex": "string"},
}


def number(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(tag, value):
    """One field of a protocol buffer; an empty one is left out."""
    if isinstance(value, (bool, int)):
        return number(tag << 3) + number(int(value)) if value else b""
    data = value.encode() if isinstance(value, str) else value
    return number(tag << 3 | 2) + number(len(data)) + data


def attribute(name, kind, required, computed_only=False):
    text = json.dumps(kind)
    flags = field(4, True) if required else field(5, not computed_only) + field(6, True)
    return field(2, field(1, name) + field(2, text) + flags)


def block(schema):
    out = b""
    for name, value in schema["attributes"].items():
        out += attribute(name, value["type"], value.get("required", False), value.get("computed", False))
    for name, value in schema["blocks"].items():
        single = value["nesting"] == "single"
        bounds = b"" if single else field(4, int(value["required"])) + field(5, 0 if value["many"] else 1)
        out += field(3, field(1, name) + field(2, block(value)) + field(3, 1 if single else 2) + bounds)
    return out


def resource(schema):
    return field(2, block(schema))


def entries(tag, schemas):
    return b"".join(field(tag, field(1, name) + field(2, resource(schema))) for name, schema in schemas.items())


def plain(attributes, required=()):
    return {"attributes": {name: {"type": kind, "required": name in required} for name, kind in attributes.items()}, "blocks": {}}


def everything(which):
    if which == "random":
        provider = plain({})
        resources, data = {name: plain(kinds, ("length",)) for name, kinds in RANDOM.items()}, {}
    else:
        types = json.loads((Path(__file__).parent / "schema.json").read_text())["types"]
        provider = plain({"project": "string", "region": "string", "user_project_override": "bool", "billing_project": "string"})
        resources = {name: schema for name, schema in types.items() if not name.startswith("data.")}
        data = {name.removeprefix("data."): schema for name, schema in types.items() if name.startswith("data.")}
    return field(1, resource(provider)) + entries(2, resources) + entries(3, data)


class Provider(grpc.GenericRpcHandler):
    def __init__(self, schema, stop):
        self.schema, self.stop = schema, stop

    def service(self, call):
        name = call.method.rsplit("/", 1)[1]
        if name == "GetProviderSchema":
            return self.answer(self.schema)
        if name == "Shutdown":
            self.stop.set()
        if name in ("ValidateProviderConfig", "ValidateResourceConfig", "ValidateDataResourceConfig", "StopProvider", "Shutdown"):
            return self.answer(b"")
        return None

    @staticmethod
    def answer(message):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: message)


def main():
    stop = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Provider(everything(os.environ["STANDS_FOR"]), stop),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|6|tcp|127.0.0.1:{port}|grpc", flush=True)
    stop.wait()
    server.stop(0)


if __name__ == "__main__":
    sys.exit(main())
