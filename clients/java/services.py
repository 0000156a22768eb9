"""Writes a Java class for each service of the contract: its methods with their comments, on top of Calls.

    buf build ../../proto -o -#format=json | python3 services.py FOLDER

The plugin of grpc-java would write stubs whose methods throw StatusRuntimeException and know neither deadlines nor
request ids; these classes have what a caller wants instead, and their descriptors serve whoever wants a call of another
kind.
"""

import json
import re
import sys
from pathlib import Path

# Numbers of FileDescriptorProto.service and of ServiceDescriptorProto.method, with which comments are located.
SERVICE_FIELD, METHOD_FIELD = 6, 2


def main(folder: Path) -> None:
    for file in json.load(sys.stdin)["file"]:
        comments = {
            tuple(location["path"]): location["leadingComments"]
            for location in file["sourceCodeInfo"]["location"]
            if "leadingComments" in location
        }
        for number, service in enumerate(file.get("service", [])):
            text = java_class(file, service, lambda *path: comments[(SERVICE_FIELD, number, *path)])
            (folder / f"{service['name']}.java").write_text(text)


def java_class(file: dict, service: dict, comment) -> str:
    name, package = service["name"], file["package"]
    methods = service["method"]
    messages = {simple(method[end]) for method in methods for end in ("inputType", "outputType")}
    imports = sorted(f"{package}.{message}" for message in messages)
    imports += ["io.grpc.MethodDescriptor", "io.grpc.MethodDescriptor.MethodType", "java.time.Duration"]
    parts = [
        f"// Written by clients/java/generate.sh from {file['name']}. Do not edit.",
        "package heldar.footage;\n",
        "\n".join(f"import {imported};" for imported in sorted(imports)) + "\n",
        javadoc(comment(), ""),
        f"public final class {name} {{",
    ]
    parts += [descriptor(f"{package}.{name}", method) + "\n" for method in methods]
    parts += [
        "  private final Calls calls;\n",
        f"  {name}(Calls calls) {{\n    this.calls = calls;\n  }}\n",
        "  /** The same methods with another limit for each call; streams, too, which have none otherwise. */",
        f"  public {name} withTimeout(Duration timeout) {{\n    return new {name}(calls.withTimeout(timeout));\n  }}",
    ]
    for number, method in enumerate(methods):
        parts += ["", javadoc(comment(METHOD_FIELD, number), "  "), java_method(method)]
    return "\n".join(parts) + "\n}\n"


def descriptor(service: str, method: dict) -> str:
    request, response = simple(method["inputType"]), simple(method["outputType"])
    kind = {
        (False, False): "UNARY",
        (False, True): "SERVER_STREAMING",
        (True, False): "CLIENT_STREAMING",
    }[method.get("clientStreaming", False), method.get("serverStreaming", False)]
    return f"""\
  /** Describes {{@link #{lower(method['name'])}}}. */
  public static final MethodDescriptor<{request}, {response}> {constant(method['name'])} =
      Calls.method(
          MethodType.{kind},
          "{service}",
          "{method['name']}",
          {request}.getDefaultInstance(),
          {response}.getDefaultInstance());"""


def java_method(method: dict) -> str:
    request, response = simple(method["inputType"]), simple(method["outputType"])
    name, described = lower(method["name"]), constant(method["name"])
    if method.get("clientStreaming"):
        head, call = f"{response} {name}(Iterable<{request}> requests)", f"calls.clientStream({described}, requests)"
    elif method.get("serverStreaming"):
        head, call = f"Responses<{response}> {name}({request} request)", f"calls.serverStream({described}, request)"
    else:
        head, call = f"{response} {name}({request} request)", f"calls.unary({described}, request)"
    return f"  public {head} {{\n    return {call};\n  }}"


def javadoc(comment: str, indent: str) -> str:
    """The comment of a proto file in the form of Javadoc: paragraphs, lists and indented code."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.rstrip("\n").split("\n")]
    written: list[str] = []
    for number, block in enumerate(blocks(lines)):
        if block[0].startswith("    "):
            written += ["<pre>{@code", *(line.removeprefix("    ") for line in block), "}</pre>"]
        elif block[0].startswith("* "):
            items = "\n".join(block).removeprefix("* ").split("\n* ")
            written += ["<ul>", *(line for item in items for line in f"  <li>{inline(item)}".split("\n")), "</ul>"]
        else:
            written += (("" if number == 0 else "<p>") + inline("\n".join(block))).split("\n")
        written.append("")
    body = "\n".join(f"{indent} * {line}".rstrip() for line in written[:-1])
    return f"{indent}/**\n{body}\n{indent} */"


def blocks(lines: list[str]) -> list[list[str]]:
    """The lines between empty lines; code and text are never in one block."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line == "":
            found.append([])
        else:
            found[-1].append(line)
    return [block for block in found if block]


def inline(text: str) -> str:
    """Text with its code marked, and nothing that Javadoc would take for a tag."""
    parts = re.split(r"`([^`]*)`", text)
    for number, part in enumerate(parts):
        if number % 2:
            assert part.count("{") == part.count("}"), f"braces that Javadoc cannot have: {part}"
            parts[number] = "{@code " + part + "}"
        else:
            parts[number] = part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return "".join(parts)


def simple(type_name: str) -> str:
    return type_name.rsplit(".", 1)[1]


def lower(name: str) -> str:
    return name[0].lower() + name[1:]


def constant(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


main(Path(sys.argv[1]))
