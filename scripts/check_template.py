"""Checks what cfn-lint can't know about deploy/cloudformation/greenlight-edge.yaml: what the edge needs it to be.

Usage: check_template.py                    prints each finding and exits 1 if there is any
       check_template.py --show VARIANT     prints the service's policy and the environment, as docs/aws-setup.md has them

The template is worked out for each variant (kind of edge, router) as CloudFormation would, with an example's values.
Then: the distribution has nothing that would serve pages past the functions; the functions fit, and are configured as
the stack's parameters say; nobody is allowed more than is listed here with a reason; and the JSON of docs/aws-setup.md
is what the template makes. Must never write anything. template_stack.py works the template out;
deploy/cloudformation/build.mjs makes it.
"""

import json
import pathlib
import re
import sys

from cfnlint.decode import decode
from template_stack import Absent, Stack

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "deploy/cloudformation/greenlight-edge.yaml"
STACK_POLICY = ROOT / "deploy/cloudformation/stack-policy.json"
GUIDE = ROOT / "docs/aws-setup.md"

# CloudFront Developer Guide, "Quotas": the size of a function. CloudFormation User Guide, "Understand CloudFormation
# quotas": the size of a template, handed over directly and by way of S3.
FUNCTION_BYTES, BODY_BYTES, TEMPLATE_BYTES = 10_240, 51_200, 1_048_576
# Lambda API Reference, "PublishVersion": characters of a description.
DESCRIPTION_CHARACTERS = 256

VARIANTS = {
    "ssm_pointer-with-functions": {"EdgeKind": "cloudfront-function", "Router": "ssm_pointer"},
    "cloudfront_kvs": {"EdgeKind": "cloudfront-function", "Router": "cloudfront_kvs"},
    "ssm_pointer-with-lambda": {"EdgeKind": "lambda-at-edge", "Router": "ssm_pointer"},
}
# Longest values of what goes into a function's code, beyond the template's own MaxLength.
LONGEST = {"EdgeTtlSeconds": "3600", "Fallback": "index", "PointerRegions": ["ap-northeast-1"] * 6}
CONFIG_LINE = re.compile(r"^const CONFIG = (.*);$", re.MULTILINE)
# What is inline as it is. (Lambda's is made CommonJS: deploy/cloudformation/build.test.mjs runs it.)
SOURCES = {
    "ViewerRequestFunction": "cloudfront-function/viewer-request.js",
    "ViewerResponseFunction": "cloudfront-function/viewer-response.js",
}
# Where a `*` may stand in a resource, and why.
WILDCARDS = {
    "arn:aws:s3:::storefront-web/releases/*": "every file of every release",
    "arn:aws:s3:::storefront-web/*": "TLS is asked for on every object",
    "arn:aws:ssm:*:": "which regions is said by aws:RequestedRegion",
    "arn:aws:logs:*:111122223333:log-group:/aws/lambda/us-east-1.storefront-edge-*":
        "a function at the edge logs where it runs, under a name that CloudFormation makes up",
}
# Calls of the service that the template's policy leaves out.
NOT_IN_THE_TEMPLATE = {
    "ssm:DeleteParameter": "only with create_parameter, and the template makes the parameter",
    "cloudwatch:DescribeAlarms": "only with a check of alarms, and it has to be on `*`",
}
# S3's permissions have other names than its calls.
PERMISSIONS = {"s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}


def many(value):
    return value if isinstance(value, list) else [value]


# ---- The distribution ------------------------------------------------------------------------------


def distribution(stack):
    (found,) = stack.resources("AWS::CloudFront::Distribution").values()
    config = found["DistributionConfig"]
    behavior = config["DefaultCacheBehavior"]
    for name, why in {
        "CustomErrorResponses": "they serve pages without a release and without marks",
        "DefaultRootObject": "the function decides what `/` is",
        "CacheBehaviors": "paths with other functions would leave the releases",
    }.items():
        if name in config:
            yield f"the distribution has {name}: {why}"
    if "OriginRequestPolicyId" in behavior:
        yield "an origin request policy would hand query strings, cookies or the decision header to S3"
    for origin in config["Origins"]:
        if origin.get("OriginAccessControlId") != "<OriginAccess.Id>":
            yield f"origin {origin['Id']} has no origin access control"
    if behavior["ViewerProtocolPolicy"] != "redirect-to-https":
        yield "the cookies are `Secure`: plain HTTP has to be redirected"
    (policy,) = stack.resources("AWS::CloudFront::CachePolicy").values()
    key = policy["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    for part, name in (("Headers", "Header"), ("Cookies", "Cookie"), ("QueryStrings", "QueryString")):
        if key[f"{part}Config"] != {f"{name}Behavior": "none"}:
            yield f"the cache key has {part.lower()} in it"
    if behavior["CachePolicyId"] != "<CachePolicy>":
        yield "the distribution doesn't use the cache policy that was looked at"
    yield from functions(stack, behavior)


def bucket(stack):
    (found,) = stack.resources("AWS::S3::Bucket").values()
    if set(found["PublicAccessBlockConfiguration"].values()) != {True}:
        yield "the bucket may be made public"
    if found["OwnershipControls"]["Rules"] != [{"ObjectOwnership": "BucketOwnerEnforced"}]:
        yield "files that another account uploads would not be the bucket's owner's"
    if "BucketEncryption" not in found:
        yield "the bucket says nothing about encryption"
    (policy,) = stack.resources("AWS::S3::BucketPolicy").values()
    said = {(s["Effect"], action) for s in policy["PolicyDocument"]["Statement"] for action in many(s["Action"])}
    for effect, action, why in (
        ("Deny", "s3:*", "nothing forbids plain HTTP"),
        ("Allow", "s3:GetObject", "the distribution may not read"),
        ("Allow", "s3:ListBucket", "a missing file would be a 403"),
    ):
        if (effect, action) not in said:
            yield f"the bucket's policy lacks {effect} {action}: {why}"


def functions(stack, behavior):
    by_lambda = stack.values["EdgeKind"] == "lambda-at-edge"
    kinds = ("LambdaFunctionAssociations", "LambdaFunctionARN"), ("FunctionAssociations", "FunctionARN")
    (used, arn), (unused, _) = kinds if by_lambda else reversed(kinds)
    if unused in behavior:
        yield f"{unused} don't go with {stack.values['EdgeKind']}"
    end = "Version" if by_lambda else "Function.FunctionMetadata.FunctionARN"
    found = {association["EventType"]: association[arn] for association in behavior.get(used, [])}
    expected = {"viewer-request": f"<ViewerRequest{end}>", "viewer-response": f"<ViewerResponse{end}>"}
    if found != expected:
        yield f"the functions are associated as {found}, not as {expected}"


# ---- The code --------------------------------------------------------------------------------------


def code_of(stack):
    for name, function in stack.resources("AWS::CloudFront::Function").items():
        yield name, function["FunctionCode"]
    for name, function in stack.resources("AWS::Lambda::Function").items():
        yield name, function["Code"]["ZipFile"]


def code(template, values):
    parameters = template["Parameters"]
    longest = {name: "x" * parameters[name]["MaxLength"] for name in ("PointerName", "ReleasePrefix")}
    stack = Stack(template, {**values, **longest, **LONGEST})
    for name, function in stack.resources("AWS::CloudFront::Function").items():
        if function["FunctionConfig"]["Runtime"] != "cloudfront-js-2.0":
            yield f"{name}: only cloudfront-js-2.0 reads a KeyValueStore"
        if (size := len(function["FunctionCode"].encode())) > FUNCTION_BYTES:
            yield f"{name}: {size} bytes with the longest parameters, and CloudFront takes {FUNCTION_BYTES}"
    for name, version in stack.resources("AWS::Lambda::Version").items():
        if (length := len(version["Description"])) > DESCRIPTION_CHARACTERS:
            yield f"{name}: {length} characters with the longest parameters, and Lambda takes {DESCRIPTION_CHARACTERS}"
    stack = Stack(template, values)
    expected = {"prefix": stack.values["ReleasePrefix"], "fallback": stack.values["Fallback"]}
    if values["EdgeKind"] == "cloudfront-function":
        expected["key"] = stack.values["PointerName"]
    else:
        expected |= {"parameter": "/" + stack.values["PointerName"], "regions": stack.values["PointerRegions"]}
        expected["edge_ttl_seconds"] = int(stack.values["EdgeTtlSeconds"])
    for name, text in code_of(stack):
        if name in SOURCES:
            source = (ROOT / "edge/dist" / SOURCES[name]).read_text(encoding="utf-8")
            if CONFIG_LINE.sub("", text) != CONFIG_LINE.sub("", source):
                yield f"{name}: is not the code of edge/dist/{SOURCES[name]}"
        lines = CONFIG_LINE.findall(text)
        if name.startswith("ViewerRequest") and [json.loads(line) for line in lines] != [expected]:
            yield f"{name}: is configured by {lines}, not by {expected}"


# ---- Permissions -----------------------------------------------------------------------------------


def statements(stack):
    for kind in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::S3::BucketPolicy"):
        for name, resource in stack.resources(kind).items():
            documents = [resource[key] for key in ("PolicyDocument",) if key in resource]
            documents += [policy["PolicyDocument"] for policy in resource.get("Policies", [])]
            for document in documents:
                yield from ((name, statement) for statement in document["Statement"])


def permissions(stack):
    for name, statement in statements(stack):
        what = f"{name}, {statement['Sid']}"
        for action in many(statement["Action"]):
            if "*" in action and statement["Effect"] == "Allow":
                yield f"{what}: allows {action}"
        for resource in many(statement["Resource"]):
            fits = (resource == known or known.endswith(":") and resource.startswith(known) for known in WILDCARDS)
            if "*" in resource and not any(fits):
                yield f"{what}: {resource} is not among the wildcards that have a reason"
            if resource.startswith("arn:aws:ssm:*:") and "aws:RequestedRegion" not in str(statement.get("Condition")):
                yield f"{what}: nothing says in which regions"
        if statement.get("Principal") == {"Service": "cloudfront.amazonaws.com"}:
            if "distribution/E2EXAMPLE" not in str(statement.get("Condition")):
                yield f"{what}: is open to every distribution of everybody"


def service_actions(stack):
    return {a for _, s in statements(stack) if _ == "ServicePolicy" for a in many(s["Action"])}


def calls(template):
    """What the service asks AWS for, by the operations that its errors name, against what the variants allow."""
    allowed = set().union(*(service_actions(Stack(template, values)) for values in VARIANTS.values()))
    named = set()
    for path in (ROOT / "src/aws").rglob("*.rs"):
        source = path.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        named |= {f"{s}:{o}" for s, o in re.findall(r'AwsError::new\(\s*"([\w-]+)",\s*"(\w+)"', source)}
    if not named:
        yield "found no call in src/aws: is it still said by `AwsError::new(service, operation, …)`?"
    for call in sorted(named):
        if (action := PERMISSIONS.get(call, call)) not in allowed | set(NOT_IN_THE_TEMPLATE):
            yield f"the service calls {call}, which ServicePolicy doesn't allow"


# ---- The guide -------------------------------------------------------------------------------------


def shown(stack):
    """What the guide has of a variant."""
    policy = stack.resource("ServicePolicy")["PolicyDocument"]
    return {"policy": policy, "environment": json.loads(stack.output("Environment"))}


def plain(node):
    """A list of one is as good as the thing itself, in a policy."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return plain(node[0]) if len(node) == 1 else [plain(value) for value in node]
    return node


def guide(template):
    text = GUIDE.read_text(encoding="utf-8")
    due = {f"{kind} {variant}" for variant in VARIANTS for kind in ("policy", "environment")}
    for mark, block in re.findall(r"(?:<!-- ([^\n]*) -->\n)?```json\n(.*?)```", text, re.DOTALL):
        try:
            found = json.loads(block)
        except ValueError as error:
            yield f"a JSON block can't be read ({error}): {block[:60]}"
            continue
        if mark in due:
            due.remove(mark)
            kind, variant = mark.split(" ")
            if plain(found) != plain(shown(Stack(template, VARIANTS[variant]))[kind]):
                yield f"`{mark}` is not what the template makes: see scripts/check_template.py --show {variant}"
        elif "Statement" in found and mark != "besides the template":
            yield f"a policy without a mark: {block[:60]}"
    yield from (f"the guide lacks `<!-- {mark} -->` and its JSON" for mark in sorted(due))
    for action in NOT_IN_THE_TEMPLATE:
        if action not in text:
            yield f"the guide doesn't say when {action} is needed"
    large = TEMPLATE.stat().st_size > BODY_BYTES
    if large != ("--s3-bucket" in text):
        yield f"the template has {TEMPLATE.stat().st_size} bytes: `--s3-bucket` is {'' if large else 'not '}needed"


# ---- All of it -------------------------------------------------------------------------------------


def rules(template):
    for name, values in VARIANTS.items():
        yield from (f"{name} is refused: {why}" for why in Stack(template, values).refused())
    lambda_ = VARIANTS["ssm_pointer-with-lambda"]
    for wrong in (
        {**lambda_, "Router": "cloudfront_kvs"},
        {**lambda_, "AWS::Region": "eu-central-1", "PointerRegions": "eu-central-1"},
        {"AWS::Region": "eu-central-1"},
        {"Aliases": "www.example.com"},
        {"CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/0"},
    ):
        if not list(Stack(template, wrong).refused()):
            yield f"the rules let this through: {wrong}"


def whole(template):
    if (size := TEMPLATE.stat().st_size) > TEMPLATE_BYTES:
        yield f"{size} bytes, and CloudFormation takes {TEMPLATE_BYTES}"
    (pointer,) = Stack(template, {}).resources("AWS::SSM::Parameter").values()
    if pointer["Value"].startswith("{"):
        yield "the first value of the pointer names a release that isn't there: every page would be a 404"
    known = {f"LogicalResourceId/{name}" for name in template["Resources"]}
    guarded = set()
    for statement in json.loads(STACK_POLICY.read_text(encoding="utf-8"))["Statement"]:
        for resource in many(statement["Resource"]):
            if statement["Effect"] == "Deny" and "Update:*" in many(statement["Action"]):
                guarded.add(resource)
            if resource not in known | {"*"}:
                yield f"stack-policy.json: there is no {resource}"
    if "LogicalResourceId/PointerParameter" not in guarded:
        yield "stack-policy.json: an update of the stack may write over the pointer"


def findings(template):
    yield from whole(template)
    yield from rules(template)
    for name, values in VARIANTS.items():
        stack = Stack(template, values)
        try:
            for check in (bucket(stack), distribution(stack), permissions(stack), code(template, values)):
                yield from (f"{name}: {finding}" for finding in check)
            for output in (n for n, o in template["Outputs"].items() if stack.has(o)):
                stack.output(output)
        except Absent as absent:
            yield f"{name}: something refers to {absent}, which this variant doesn't have"
    yield from calls(template)
    yield from guide(template)


def main():
    template, problems = decode(str(TEMPLATE))
    if problems:
        print(f"{TEMPLATE.name}: can't be read: {problems[0].message}")
        return 1
    if sys.argv[1:2] == ["--show"]:
        for name, document in shown(Stack(template, VARIANTS[sys.argv[2]])).items():
            print(f"<!-- {name} {sys.argv[2]} -->\n```json\n{json.dumps(document, indent=2)}\n```\n")
        return 0
    found = list(findings(template))
    for finding in found:
        print(f"{TEMPLATE.name}: {finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
