"""Asks the AWS double what boto3 users ask AWS. Prints `ok`, or fails with the first mismatch.

Usage: python3 boto3_double.py ENDPOINT_URL
"""

import json
import socket
import sys
import urllib.request

import boto3
import botocore.model
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
NAME = "/storefront/production/release"
DISTRIBUTION = "E2EXAMPLE"


def client(service, region="eu-west-1", key="EXAMPLE", secret="example", token=None):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=ENDPOINT,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def expect(actual, wanted):
    if actual != wanted:
        raise SystemExit(f"expected {wanted!r}, got {actual!r}")


def refused(code, status, call, **arguments):
    try:
        answer = call(**arguments)
    except ClientError as error:
        expect(error.response["Error"]["Code"], code)
        expect(error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        return error.response["Error"].get("Message", "")
    raise SystemExit(f"expected {code}, got {answer!r}")


def admin(path, body):
    request = urllib.request.Request(
        f"{ENDPOINT}/_double{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


def batch(reference, *paths):
    return {"Paths": {"Quantity": len(paths), "Items": list(paths)}, "CallerReference": reference}


def parameters():
    ssm = client("ssm")
    refused("ParameterNotFound", 400, ssm.get_parameter, Name=NAME)
    expect(ssm.put_parameter(Name=NAME, Value="1.0.0", Type="String")["Version"], 1)
    message = refused(
        "ParameterAlreadyExists", 400, ssm.put_parameter, Name=NAME, Value="x", Type="String"
    )
    expect("overwrite option" in message, True)
    put = ssm.put_parameter(Name=NAME, Value="1.1.0", Overwrite=True)
    expect((put["Version"], put["Tier"]), (2, "Standard"))
    parameter = ssm.get_parameter(Name=NAME)["Parameter"]
    expect((parameter["Name"], parameter["Value"], parameter["Version"]), (NAME, "1.1.0", 2))
    expect(parameter["ARN"], f"arn:aws:ssm:eu-west-1:000000000000:parameter{NAME}")
    expect(parameter["LastModifiedDate"].year >= 2024, True)
    expect(ssm.get_parameter(Name=parameter["ARN"])["Parameter"]["Value"], "1.1.0")
    expect(ssm.get_parameter(Name=f"{NAME}:1")["Parameter"]["Value"], "1.0.0")
    ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["stable"])
    expect(ssm.get_parameter(Name=f"{NAME}:stable")["Parameter"]["Version"], 1)
    refused("ParameterVersionNotFound", 400, ssm.get_parameter, Name=f"{NAME}:9")
    history = ssm.get_parameter_history(Name=NAME)["Parameters"]
    expect([(it["Version"], it["Labels"]) for it in history], [(1, ["stable"]), (2, [])])
    many = ssm.get_parameters(Names=[NAME, "/none"])
    expect([it["Value"] for it in many["Parameters"]], ["1.1.0"])
    expect(many["InvalidParameters"], ["/none"])
    expect([it["Name"] for it in ssm.describe_parameters()["Parameters"]], [NAME])
    refused(
        "ValidationException", 400, ssm.put_parameter, Name="/big", Value="x" * 4097, Type="String"
    )
    refused("UnknownOperationException", 400, ssm.list_documents)
    ssm.delete_parameter(Name=NAME)
    refused("ParameterNotFound", 400, ssm.delete_parameter, Name=NAME)


def invalidations():
    cloudfront = client("cloudfront")
    call = {"DistributionId": DISTRIBUTION}
    refused("NoSuchDistribution", 404, cloudfront.get_distribution, Id=DISTRIBUTION)
    admin("/distributions", {"id": DISTRIBUTION})
    whole = cloudfront.get_distribution(Id=DISTRIBUTION)
    config = cloudfront.get_distribution_config(Id=DISTRIBUTION)
    expect(whole["ETag"], config["ETag"])
    expect(whole["Distribution"]["DistributionConfig"], config["DistributionConfig"])
    listed = cloudfront.list_distributions()["DistributionList"]
    expect([it["Id"] for it in listed["Items"]], [DISTRIBUTION])

    paths = ("/index.html?a=1&b=2", "/assets/*")
    made = cloudfront.create_invalidation(InvalidationBatch=batch("job-1", *paths), **call)
    expect(made["ResponseMetadata"]["HTTPStatusCode"], 201)
    expect(made["Location"].endswith(made["Invalidation"]["Id"]), True)
    expect(made["Invalidation"]["Status"], "InProgress")
    expect(made["Invalidation"]["InvalidationBatch"]["Paths"]["Items"], list(paths))
    again = cloudfront.create_invalidation(InvalidationBatch=batch("job-1", *paths), **call)
    expect(again["Invalidation"]["Id"], made["Invalidation"]["Id"])
    refused(
        "InvalidationBatchAlreadyExists",
        400,
        cloudfront.create_invalidation,
        InvalidationBatch=batch("job-1", "/other"),
        **call,
    )
    refused(
        "InvalidArgument",
        400,
        cloudfront.create_invalidation,
        InvalidationBatch=batch("job-2", "index.html"),
        **call,
    )
    wildcards = [f"/{number}/*" for number in range(15)]
    refused(
        "TooManyInvalidationsInProgress",
        400,
        cloudfront.create_invalidation,
        InvalidationBatch=batch("job-3", *wildcards),
        **call,
    )
    admin("/clock", {"advance_seconds": 3})
    got = cloudfront.get_invalidation(Id=made["Invalidation"]["Id"], **call)["Invalidation"]
    expect(got["Status"], "Completed")
    refused("NoSuchInvalidation", 404, cloudfront.get_invalidation, Id="IMISSING", **call)
    second = cloudfront.create_invalidation(InvalidationBatch=batch("job-4", "/a"), **call)
    page = cloudfront.list_invalidations(MaxItems="1", **call)["InvalidationList"]
    expect([it["Id"] for it in page["Items"]], [second["Invalidation"]["Id"]])
    expect(page["IsTruncated"], True)
    page = cloudfront.list_invalidations(Marker=page["NextMarker"], **call)["InvalidationList"]
    expect([it["Id"] for it in page["Items"]], [made["Invalidation"]["Id"]])
    refused("UnknownOperationException", 404, cloudfront.list_functions)


def roles():
    sts = client("sts")
    expect(sts.get_caller_identity()["Account"], "000000000000")
    expect(client("sts", key="333333333333").get_caller_identity()["Account"], "333333333333")
    role = "arn:aws:iam::222222222222:role/greenlight"
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="job-1")
    given = assumed["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    identity = client("sts", "eu-west-1", *keys).get_caller_identity()
    expect(identity["Arn"], "arn:aws:sts::222222222222:assumed-role/greenlight/job-1")
    expect(identity["Arn"], assumed["AssumedRoleUser"]["Arn"])
    ssm = client("ssm", "eu-west-1", *keys)
    ssm.put_parameter(Name="/away", Value="x", Type="String")
    parameter = ssm.get_parameter(Name="/away")["Parameter"]
    expect(parameter["ARN"], "arn:aws:ssm:eu-west-1:222222222222:parameter/away")
    bad = {"RoleArn": "not-a-role-but-long-enough", "RoleSessionName": "job-1"}
    refused("ValidationError", 400, sts.assume_role, **bad)
    admin("/roles", {"arn": role, "external_id": "handshake"})
    refused("AccessDenied", 403, sts.assume_role, RoleArn=role, RoleSessionName="job-1")
    sts.assume_role(RoleArn=role, RoleSessionName="job-1", ExternalId="handshake")


def stores():
    """KeyValueStore. boto3 signs for it with SigV4A, which takes awscrt."""
    arn = admin("/key-value-stores", {"name": "shared"})["arn"]
    account, resolve = "000000000000", socket.getaddrinfo

    # boto3 puts the account's id in front of the host of any endpoint; no resolver has such a name.
    def without_account(host, *arguments, **options):
        return resolve(host.removeprefix(f"{account}."), *arguments, **options)

    socket.getaddrinfo = without_account
    kvs, call = client("cloudfront-keyvaluestore"), {"KvsARN": arn}
    described = kvs.describe_key_value_store(**call)
    expect((described["KvsARN"], described["ItemCount"], described["Status"]), (arn, 0, "READY"))
    expect(described["Created"].year >= 2024, True)
    first = described["ETag"]
    put = kvs.put_key(Key="storefront/production", Value="1.0.0", IfMatch=first, **call)
    expect((put["ItemCount"], put["TotalSizeInBytes"]), (1, 26))
    got = kvs.get_key(Key="storefront/production", **call)
    expect((got["Key"], got["Value"]), ("storefront/production", "1.0.0"))
    put = {"Key": "storefront/production", "Value": "1.1.0"}
    refused("ConflictException", 409, kvs.put_key, IfMatch=first, **put, **call)
    refused("ResourceNotFoundException", 404, kvs.get_key, Key="none", **call)
    now = kvs.describe_key_value_store(**call)["ETag"]
    missing = [{"Key": "none"}]
    refused("ResourceNotFoundException", 404, kvs.update_keys, IfMatch=now, Puts=[put], Deletes=missing, **call)
    now = kvs.update_keys(IfMatch=now, Puts=[put, {"Key": "a b", "Value": "é"}], **call)["ETag"]
    now = kvs.delete_key(Key="a b", IfMatch=now, **call)["ETag"]
    many = [{"Key": str(number), "Value": "v"} for number in range(12)]
    now = kvs.update_keys(IfMatch=now, Puts=many, **call)["ETag"]
    pages = list(kvs.get_paginator("list_keys").paginate(**call))
    expect([len(page["Items"]) for page in pages], [10, 3])
    expect(pages[1]["Items"][-1], put)
    long = {"Key": "long", "Value": "x" * 1025}
    refused("ServiceQuotaExceededException", 402, kvs.update_keys, IfMatch=now, Puts=[long], **call)
    socket.getaddrinfo = resolve


def objects():
    s3 = client("s3")
    bucket = "storefront-web"
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket=bucket)
    refused("404", 404, s3.head_bucket, Bucket=bucket)
    refused("IllegalLocationConstraintException", 400, s3.create_bucket, Bucket=bucket)
    here = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=here)
    refused(
        "BucketAlreadyOwnedByYou",
        409,
        s3.create_bucket,
        Bucket=bucket,
        CreateBucketConfiguration=here,
    )
    expect(s3.head_bucket(Bucket=bucket)["BucketRegion"], "eu-west-1")

    names = ["index.html", "a b.js", "c+d.js", "\u00e9\u4e2d\U0001f600.css", "100%.txt", "e&<f>'\".js", "\x01.bin"]
    keys = sorted((f"releases/1.0.0+1/{name}" for name in names), key=lambda key: key.encode())
    for key in keys:
        put = s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), ContentType="text/plain")
        expect(put["ETag"].startswith('"') and len(put["ETag"]) == 34, True)
    s3.put_object(Bucket=bucket, Key="releases/1.0.0 1/x", Body=b"another release")
    for key in keys:
        got = s3.get_object(Bucket=bucket, Key=key)
        expect((got["Body"].read().decode(), got["ContentType"]), (key, "text/plain"))
        expect(s3.head_object(Bucket=bucket, Key=key)["ContentLength"], len(key.encode()))
    for size in (1, 2, 3, 1000):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="releases/1.0.0+1/", PaginationConfig={"PageSize": size}
        )
        pages = list(pages)
        expect([it["Key"] for page in pages for it in page["Contents"]], keys)
        expect(len(pages), -(-len(keys) // size))
    folders = s3.list_objects_v2(Bucket=bucket, Prefix="releases/", Delimiter="/")
    folders = [it["Prefix"] for it in folders["CommonPrefixes"]]
    expect(folders, ["releases/1.0.0 1/", "releases/1.0.0+1/"])
    after = s3.list_objects_v2(Bucket=bucket, StartAfter=keys[-2], MaxKeys=5)
    expect([it["Key"] for it in after["Contents"]], keys[-1:])
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=bucket, ContinuationToken="x")

    index = {"Bucket": bucket, "Key": "releases/1.0.0+1/index.html"}
    part = s3.get_object(Range="bytes=0-7", **index)
    expect((part["Body"].read(), part["ContentRange"]), (b"releases", "bytes 0-7/27"))
    expect(part["ResponseMetadata"]["HTTPStatusCode"], 206)
    refused("InvalidRange", 416, s3.get_object, Range="bytes=99-", **index)
    etag = s3.head_object(**index)["ETag"]
    refused("304", 304, s3.get_object, IfNoneMatch=etag, **index)
    refused("PreconditionFailed", 412, s3.get_object, IfMatch='"other"', **index)
    refused("PreconditionFailed", 412, s3.put_object, IfNoneMatch="*", Body=b"", **index)
    refused("InvalidDigest", 400, s3.put_object, ContentMD5="x", Body=b"", **index)
    refused("BadDigest", 400, s3.put_object, ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==", Body=b"x", **index)
    kept = {"CacheControl": "no-cache", "ContentEncoding": "gzip", "Metadata": {"build": "7"}}
    s3.put_object(Body=b"", **kept, **index)
    head = s3.head_object(**index)
    expect({name: head[name] for name in kept}, kept)
    expect(head["ContentType"], "binary/octet-stream")
    expect(head["ETag"], '"d41d8cd98f00b204e9800998ecf8427e"')
    s3.delete_object(**index)
    s3.delete_object(**index)
    refused("NoSuchKey", 404, s3.get_object, **index)
    refused("404", 404, s3.head_object, **index)
    refused("NotImplemented", 501, s3.list_buckets)
    refused("AccessDenied", 403, client("s3", key="333333333333").list_objects_v2, Bucket=bucket)
    refused("403", 403, client("s3", key="333333333333").head_object, **index)
    # boto3 follows a bucket to its region.
    away = client("s3", region="us-east-1").list_objects_v2(Bucket=bucket, MaxKeys=1)
    expect(away["KeyCount"], 1)


def alarms():
    """CloudWatch. boto3 takes awsJson1.0 of the protocols that it could speak; the other one is asked for here."""
    priority = botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS
    for protocol in ("json", "smithy-rpc-v2-cbor"):
        botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = (protocol,)
        cloudwatch = client("cloudwatch")
        expect(cloudwatch.meta.service_model.resolved_protocol, protocol)
        alarm_stories(cloudwatch)
    botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = priority


def alarm_stories(cloudwatch):
    metric = {
        "Namespace": "Storefront",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "Page", "Value": "\u00e9"}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 2,
        "Threshold": 0.5,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": ["arn:aws:sns:eu-west-1:000000000000:releases"],
    }
    cloudwatch.put_metric_alarm(AlarmName="errors", Tags=[{"Key": "a", "Value": "b"}], **metric)
    cloudwatch.put_metric_alarm(AlarmName="latency", **metric)
    cloudwatch.put_composite_alarm(AlarmName="site", AlarmRule='ALARM("errors") OR ALARM("latency")')
    message = refused("ValidationError", 400, cloudwatch.put_metric_alarm, AlarmName="x", **{**metric, "Period": 59})
    expect("multiple of 60" in message, True)
    clash = {"AlarmName": "errors", "AlarmRule": "FALSE"}
    refused("ValidationError", 400, cloudwatch.put_composite_alarm, **clash)

    both = {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    answer = cloudwatch.describe_alarms(AlarmNames=["errors", "site", "none"], **both)
    (alarm,), (composite,) = answer["MetricAlarms"], answer["CompositeAlarms"]
    expect({name: alarm[name] for name in metric}, metric)
    expect(alarm["AlarmArn"], "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:errors")
    expect((alarm["StateValue"], alarm["ActionsEnabled"]), ("INSUFFICIENT_DATA", True))
    expect(alarm["StateReason"], "Unchecked: Initial alarm creation")
    expect(alarm["StateUpdatedTimestamp"].year >= 2024, True)
    expect((composite["AlarmName"], composite["StateValue"]), ("site", "INSUFFICIENT_DATA"))
    expect(cloudwatch.describe_alarms(AlarmNames=["site"])["CompositeAlarms"], [])

    state = {"StateValue": "ALARM", "StateReason": "crossed", "StateReasonData": '{"count": 1}'}
    cloudwatch.set_alarm_state(AlarmName="errors", **state)
    (alarm,) = cloudwatch.describe_alarms(StateValue="ALARM", **both)["MetricAlarms"]
    expect({name: alarm[name] for name in state}, state)
    cloudwatch.put_metric_alarm(AlarmName="errors", **{**metric, "AlarmActions": []})
    (alarm,) = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
    expect((alarm["AlarmName"], alarm["AlarmActions"]), ("errors", []))
    acting = cloudwatch.describe_alarms(ActionPrefix="arn:aws:sns:")["MetricAlarms"]
    expect([it["AlarmName"] for it in acting], ["latency"])
    refused("ResourceNotFound", 404, cloudwatch.set_alarm_state, AlarmName="none", **state)
    bad = {**state, "StateReasonData": "{"}
    refused("InvalidFormat", 400, cloudwatch.set_alarm_state, AlarmName="errors", **bad)

    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 1}, **both)
    pages = [page["MetricAlarms"] + page["CompositeAlarms"] for page in pages]
    expect([[it["AlarmName"] for it in page] for page in pages], [["errors"], ["latency"], ["site"]])
    refused("InvalidNextToken", 400, cloudwatch.describe_alarms, NextToken="?")
    names = [f"a{number}" for number in range(101)]
    refused("ValidationError", 400, cloudwatch.describe_alarms, AlarmNames=names)
    refused("UnknownOperationException", 404, cloudwatch.list_dashboards)

    admin("/alarms", {"region": "eu-west-1", "name": "site", "composite": True, "state": "OK", "reason": "fine"})
    (composite,) = cloudwatch.describe_alarms(**both)["CompositeAlarms"]
    expect((composite["StateValue"], composite["StateReason"]), ("OK", "fine"))
    admin("/faults", {"operation": "DescribeAlarms", "action": "access_denied", "times": 1})
    message = refused("AccessDenied", 403, cloudwatch.describe_alarms)
    expect("cloudwatch:DescribeAlarms" in message, True)
    expect(client("cloudwatch", region="us-east-1").describe_alarms()["MetricAlarms"], [])
    refused("ResourceNotFound", 404, cloudwatch.delete_alarms, AlarmNames=["errors", "site", "none"])
    left = cloudwatch.describe_alarms(**both)
    expect([it["AlarmName"] for it in left["MetricAlarms"] + left["CompositeAlarms"]], ["latency"])
    cloudwatch.delete_alarms(AlarmNames=["latency"])


def faults():
    ssm = client("ssm")
    admin("/faults", {"operation": "GetParameter", "action": "throttle", "times": 1})
    refused("ThrottlingException", 400, ssm.get_parameter, Name=NAME)
    refused("ParameterNotFound", 400, ssm.get_parameter, Name=NAME)
    admin("/faults", {"operation": "ListObjectsV2", "action": "throttle", "times": 1})
    refused("SlowDown", 503, client("s3").list_objects_v2, Bucket="storefront-web")
    admin("/faults", {"action": "unavailable", "times": 1})
    refused("ServiceUnavailable", 503, client("cloudfront").get_distribution, Id=DISTRIBUTION)


parameters()
invalidations()
roles()
stores()
objects()
alarms()
faults()
print("ok")
