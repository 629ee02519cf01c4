"""A CloudFormation template with its functions worked out, for check_template.py.

Knows the functions that deploy/cloudformation/greenlight-edge.yaml uses, and what AWS would answer for what is made, by
example. Must never be taken for CloudFormation: it fails at a function that it doesn't know.
"""

import re

# Values of parameters, where they are not the template's own, and of pseudo parameters.
EXAMPLE = {
    "BucketName": "storefront-web",
    "TrustedPrincipalArn": "arn:aws:iam::111122223333:role/greenlight-service",
    "ExternalId": "storefront-production",
    "AWS::AccountId": "111122223333",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "storefront-edge",
}
# What CloudFormation learns from AWS when it makes a resource: what `Ref` and `GetAtt` answer.
MADE = {
    "Bucket": "storefront-web",
    "Bucket.Arn": "arn:aws:s3:::storefront-web",
    "Distribution": "E2EXAMPLE",
    "Distribution.DomainName": "d111111abcdef8.cloudfront.net",
    "KeyValueStore.Arn": "arn:aws:cloudfront::111122223333:key-value-store/a1b2c3d4-5678-90ab-cdef-example11111",
    "ServiceRole.Arn": "arn:aws:iam::111122223333:role/storefront-edge-ServiceRole",
}


class Absent(Exception):
    """Something refers to a resource that the variant doesn't have."""


class Stack:
    """The template with every function worked out, for some values of its parameters."""

    def __init__(self, template, values):
        self.template = template
        self.values = {**EXAMPLE, "AWS::NoValue": None}
        for name, parameter in template["Parameters"].items():
            self.values.setdefault(name, parameter.get("Default"))
        self.values.update(values)
        for name, parameter in template["Parameters"].items():
            if parameter["Type"] == "CommaDelimitedList" and isinstance(self.values[name], str):
                self.values[name] = self.values[name].split(",")

    def has(self, thing):
        return "Condition" not in thing or self.evaluate({"Condition": thing["Condition"]})

    def resources(self, kind):
        return {n: self.resource(n) for n, r in self.template["Resources"].items() if r["Type"] == kind and self.has(r)}

    def resource(self, name):
        return self.evaluate(self.template["Resources"][name]["Properties"])

    def output(self, name):
        return self.evaluate(self.template["Outputs"][name]["Value"])

    def refer(self, name):
        """`Ref` for a bare name, `GetAtt` for one with a dot."""
        if name in self.values:
            return self.values[name]
        if not self.has(self.template["Resources"][name.split(".")[0]]):
            raise Absent(name)
        return MADE.get(name, f"<{name}>")

    def evaluate(self, node):
        if isinstance(node, list):
            return [value for value in map(self.evaluate, node) if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return getattr(self, "do_" + name.removeprefix("Fn::").lower())(argument)
        worked = {key: self.evaluate(value) for key, value in node.items()}
        return {key: value for key, value in worked.items() if value is not None}

    def do_ref(self, name):
        return self.refer(name)

    def do_getatt(self, name):
        return self.refer(name if isinstance(name, str) else ".".join(name))

    def do_sub(self, argument):
        text, names = argument if isinstance(argument, list) else (argument, {})
        local = {name: self.evaluate(value) for name, value in names.items()}
        return re.sub(r"\$\{([^!}][^}]*)\}", lambda m: str(local[m[1]] if m[1] in local else self.refer(m[1])), text)

    def do_join(self, argument):
        return argument[0].join(map(str, self.evaluate(argument[1])))

    def do_select(self, argument):
        return self.evaluate(argument[1])[int(argument[0])]

    def do_if(self, argument):
        return self.evaluate(argument[1] if self.do_condition(argument[0]) else argument[2])

    def do_condition(self, name):
        return self.evaluate(self.template["Conditions"][name])

    def do_equals(self, argument):
        return self.evaluate(argument[0]) == self.evaluate(argument[1])

    def do_not(self, argument):
        return not self.evaluate(argument[0])

    def do_contains(self, argument):
        return self.evaluate(argument[1]) in self.evaluate(argument[0])

    def do_eachmemberequals(self, argument):
        return all(member == argument[1] for member in self.evaluate(argument[0]))

    def refused(self):
        """What its rules say against these values."""
        for rule in self.template["Rules"].values():
            if self.evaluate(rule.get("RuleCondition", True)):
                for assertion in rule["Assertions"]:
                    if not self.evaluate(assertion["Assert"]):
                        yield assertion["AssertDescription"]
