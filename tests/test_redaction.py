"""Secrets are not stored: by the parts of names, inside of texts, and by their look."""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from fixtures_postgres import PostgresServer
from fixtures_store import Store
from helpers import minimal
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import START, StateGraph

import runlog
from runlog._runlog import encode_json
from runlog.cli import main
from runlog.hooks import RunLogHandler

ROOT = Path(__file__).parents[1]
MARK = "<redacted>"
SECRET = "hunter2-Xq9"
SECRETS = [
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "db_password",
    "userPassword",
    "user-password",
    "DB.PASSWORD",
    "password2",
    "passwordHash",
    "password_hash",
    "PGPASSWORD",
    "DB_PASS",
    "secret",
    "secrets",
    "client_secret",
    "clientSecret",
    "CLIENT-SECRET",
    "app.secret",
    "stripe_webhook_secret",
    "api_key",
    "apikey",
    "api-key",
    "apiKey",
    "APIKey",
    "API_KEY",
    "x-api-key",
    "X-Api-Key",
    "openai_api_key",
    "OPENAI_API_KEY",
    "openaiApiKey",
    "openaiapikey",
    "OPENAI_KEY",
    "anthropic_api_key",
    "aws_secret_access_key",
    "AWS_SECRET_ACCESS_KEY",
    "accessKey",
    "private_key",
    "privateKey",
    "encryption_key",
    "signing_key",
    "account_key",
    "ssh_key",
    "api_keys",
    "token",
    "access_token",
    "accessToken",
    "ACCESS_TOKEN",
    "refresh_token",
    "id_token",
    "session_token",
    "x-amz-security-token",
    "X-Auth-Token",
    "apiToken",
    "github_token",
    "bot_token",
    "csrf_token",
    "access_tokens",
    "accesstoken",
    "authorization",
    "Authorization",
    "AUTHORIZATION",
    "Proxy-Authorization",
    "basic_auth",
    "bearer",
    "jwt",
    "cookie",
    "Cookie",
    "Set-Cookie",
    "set_cookie",
    "session_cookies",
    "credentials",
    "aws_credentials",
    "connection_string",
    "connectionString",
    "dsn",
    "signature",
    "otp",
    "password_reset_token",
    "api key",
    "access token",
    "my.api.key",
    "apikeys",
    "accesstokens",
    "privatekeys",
    "connectionstring",
    "jwts",
    "signatures",
    "dsns",
    "otps",
    "passcodes",
    "pwds",
    "dbpwd",
    "dbPwds",
    "dbpasswords",
    "userpassphrase",
    "clientsecrets",
    "awscredential",
    "awsCredentials",
    "sentrydsn",
    "pgdsns",
    "authjwt",
    "smsotp",
    "requestsignature",
    "connectionStrings",
    "connection_strings",
    "openAIKey",
    "openAIKeys",
    "gitHubKey",
    "passPhrase",
    "userPassCode",
    "app_key",
    "applicationKey",
    "FERNET_KEY",
    "unsealKeys",
    "x-functions-key",
    "WEAVIATE_KEY",
    "ansible_become_pass",
    "dbpass",
    "auth_header",
    "authCode",
    "access_token_string",
]
NO_SECRETS = [
    "pagination_token",
    "StartingToken",
    "resume_token",
    "signature_date",
    "tokens",
    "max_tokens",
    "maxTokens",
    "next_token",
    "nextPageToken",
    "page_token",
    "token_usage",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "token_count",
    "token_type",
    "token_limit",
    "tokenizer",
    "new_token",
    "key",
    "keys",
    "primary_key",
    "foreign_key",
    "sort_key",
    "cache_key",
    "public_key",
    "idempotency_key",
    "keyword",
    "monkey",
    "keyboard",
    "secretary",
    "secret_name",
    "author",
    "authority",
    "authorization_status",
    "authorization_url",
    "has_password",
    "is_secret",
    "password_policy",
    "password_reset_url",
    "cookie_policy",
    "thread_id",
    "session_id",
    "run_id",
    "passenger",
    "compass",
    "description",
    "concatenation",
    "function_signature",
    "design",
    "sacred",
    "methodsignature",
    "compassWord",
    "passes",
    "openAIModel",
    "openPrimaryKey",
    "compassCodes",
    "jwtsIssuer",
    "token_str",
    "tokenPositions",
    "token_text_splitter",
    "token_probs",
    "token_symbol",
    "contract_token_address",
    "after_token",
    "cookie_notice",
    "bypass",
    "authored",
]
# The look of keys, and how much of each must not be seen.
KEYS = [
    "sk-" + "aB3d" * 12,
    "sk-proj-" + "aB3_d-" * 10,
    "sk-ant-api03-" + "aB3d" * 10,
    "sk-svcacct-" + "aB3d" * 10,
    "ghp_" + "aB3" * 12,
    "gho_" + "aB3" * 12,
    "ghs_" + "aB3" * 12,
    "github_pat_" + "11ABC_" * 8,
    "glpat-" + "aB3d-" * 4,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ASIA" + "IOSFODNN7EXAMPLE",
    "AIza" + "SyD3-_x" * 5,
    "ya29." + "a0AfH6-_" * 4,
    "GOCSPX-" + "aB3d" * 7,
    "xoxb-" + "123456789012-aBcD",
    "xoxd-" + "123456789012-aBcD",
    "xapp-" + "1-A0123-456-abcdef",
    "hf_" + "aBcD" * 9,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + "aB3_-d" * 5,
    "npm_" + "aB3" * 12,
    "pypi-" + "AgEIcHlwaS5vcmcaB3_-" * 3,
    "dop_v1_" + "0123456789abcdef" * 4,
    "SG." + "aB3_-" * 5 + "." + "aB3_-" * 9,
    "sk_live_" + "aB3d" * 6,
    "rk_live_" + "aB3d" * 6,
    "gsk_" + "aB3d" * 12,
    "lsv2_pt_" + "0123456789abcdef" * 2,
    "tvly-" + "aB3d" * 7,
    "hvs." + "aB3d" * 8,
]
PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}\n-----END {0}PRIVATE KEY-----"
PEMS = [
    PEM.format(
        kind, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" + ("MIIEvQ+/aB3d" * 5 + "\n") * 12
    )
    for kind in ("", "RSA ", "OPENSSH ")
]
AROUND = [
    "a%3D{}",
    "\x1b[1;31m{}\x1b[0m",
    "{}",
    "use {} now",
    "({})",
    'a "{}" b',
    "x\n{}\ny",
    "k, {}.",
    "\u00e9 {} \U0001f680",
]
PAIRS = [
    '{{"api_key": "{}"}}',
    '{{"api_key":"{}","b":1}}',
    "{{'api_key': '{}', 'b': 2}}",
    "{{'credentials': {{'user': 'u', 'p': ['{}']}}, 'x': 1}}",
    '{{"credentials": {{"user": "u", "p": ["{}"]}}, "x": 1}}',
    "https://h/p?a=1&api_key={}&b=2",
    "user[password]={}&x=1",
    "Authorization: Bearer {}\nHost: x",
    "authorization: Basic {}",
    "X-Api-Key: {}\r\nHost: x",
    "Cookie: session={}; a=b",
    "Set-Cookie: id={}; Path=/",
    'curl -H "Authorization: Bearer {}" https://h',
    "curl -H 'x-api-key: {}' https://h",
    "OPENAI_API_KEY={}\nDEBUG=1",
    "export DB_PASSWORD='{}'",
    "connect(host='h', password='{}')",
    "host=h password={} dbname=d",
    "host=h password = '{}'",
    "AccountName=a;AccountKey={}==;EndpointSuffix=s",
    "db:\n  password: {}\n  port: 1",
    "my API key: {} is new",
    'os.environ["API_KEY"] = "{}"',
    "api_key=b'{}'",
    "'password' => '{}'",
    "postgresql://app:{}@db.example.org:5432/prod",
    "redis://:{}@cache:6379/0",
    "mongodb+srv://u:{}@h1,h2/db?x=1",
    "see https://user:{}@example.org/x and go",
    "postgresql://app:{}/x#y?z@db:5432/prod",
    '{{"u":"https:\\/\\/user:{}@h\\/x"}}',
    '{{"password" : "{}"}}',
    '{{\n "password"\n :\n\t"{}"\r\n}}',
    '{{"api_key":\r\n{{"a": "{}"}}}}',
    '{{"pass\\u0077ord": "{}"}}',
    '{{"\\u0061pi_ke\\u0079":"{}"}}',
    "password: |\n  {0}\n  {0}\nport: 1",
    "db:\n  password: >-\n\n    x {0}\n\n    {0}\n  port: 1",
    'password = """{}"""',
    "password = '''\n{}\n'''\nport = 1",
    'connect(password="""a"b{}""", host="h")',
    "Conn(host='h', credentials={{'user': 'u', 'p': '{}'}}, port=1)",
    "Conn(credentials={{'a': [('u', \"{}\")]}}, port=1)",
    "Conn(credentials=Pair(user='u', word='{}'), port=1)",
    "passwords = ['{}', 'b']\nport = 1",
    'secrets = ["{}", "b"]',
    "requests.get(url, auth=('u', '{}'))",
    "Conn(password=SecretStr('{}'), port=1)",
    'Conn(api_key=pydantic.SecretStr("{}"))',
    "def connect(host: str, password: str = '{}') -> None:",
    "authorization: str = '{}'",
    "failed: host=h password=xK({}\nin line 3",
    "failed: host=h password=xK[{}\nin line 3",
    'password: str | None = "{}"',
    "Authorization: Splunk {}\nHost: x",
    "authorization: SharedKey account:{}",
    "password:\t{}\nport: 1",
    "- **Password:** {}",
    "- **password**: {}",
]
# A URL to which whoever knows it may post, and how much of it is no secret.
WEBHOOKS = [
    ("https://hooks.slack.com/services/", "T00/B00/XXXXXXXXXXXXXXXXXX1"),
    ("https://hooks.slack.com/workflows/", "T00/A00/123/abcdEFGH123"),
    ("https://discord.com/api/webhooks/", "123456/abcDEF-123_xyz"),
    ("https://discord.com/api/v10/webhooks/", "123456/abcDEF-123_xyz"),
    ("https://canary.discordapp.com/api/v9/webhooks/", "123456/abcDEF-123_xyz"),
]
PROSE = [
    "task-list risk-free sk-learn scikit-learn",
    "sk-learn-based-classification-model",
    "eyJ alone, eyJhbGciOiJIUzI1NiJ9 and no more",
    "550e8400-e29b-41d4-a716-446655440000",
    "1ef4c6e7-1234-6f00-8000-abcdefabcdef|run--1ef4c6e7-1234-6f00-8000-abcdefabcdef-0",
    "d41d8cd98f00b204e9800998ecf8427e",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAUA/+" * 100,
    "2024-06-11T08:30:00.037000+00:00",
    "see https://example.com:8080/a/b?x=1#frag@y, mail a@b.c: soon",
    "ssh://git@github.com/o/r git@github.com:o/r.git http://user@host/x",
    "The password: please choose one. Secret: he never knew. Token: a unit of text",
    "token: str",
    "def f(token: str = None, password: Optional[str] = None) -> None:",
    "def f(password: str, host='localhost') -> None:",
    "f(authorization: str = Header(None))",
    "token = get_token()\nclient = Client(name='x')",
    "max_tokens=5, temperature=0.1; sort_key=abc; key: value",
    '{"max_tokens": 5, "next_token": "abc", "has_password": true, "secret": null}',
    "a::b c==d ratio 3:4 at 12:30 x := y",
    "Bearer authentication is required, Basic internationalization as well",
    "npm_config_registry hf_transfer_enabled pypi-server",
    "Die Prüfung größerer Aufträge: für später genügt ein kürzerer Überblick",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQ\n-----END PUBLIC KEY-----",
    "C:\\new\\table\\report.txt lg:checkpoint:1ef4c6e7",
    "password: >\n\nplease choose one",
    "The 'password':\n\nhe had forgotten it",
    'An empty one is password = "" or password = """""".',
    "https:\\/\\/example.com\\/a and discord.com/api/version/webhooks/1234567890abcdef",
    "passwords = [] and secrets={}, credentials=() or tokens: ['a', 'b']",
    "f(token=get_token(), api_key=environ['API_KEY'], password=getenv('PASSWORD'))",
    "The secrets: (see below), secret = [some of them]",
    "Authorization: not required for reading. Authorization: see below",
    "password: str, secret: Optional[str] = None, **Token:** a unit of text",
]


def encoded(value: Any, **options: Any) -> Any:
    return json.loads(encode_json(value, **options))


@pytest.mark.parametrize("name", SECRETS)
def test_what_stands_under_the_name_of_a_secret_is_hidden(name: str) -> None:
    for value in (SECRET, [SECRET], {"a": SECRET}, SECRET.encode(), (1, SECRET)):
        got = encoded({name: value, "k": [{name: value}], "n": 1})
        assert got == {name: MARK, "k": [{name: MARK}], "n": 1}
    assert list(encoded({name.encode(): SECRET, "n": 1}).values()) == [MARK, 1]


@pytest.mark.parametrize("name", NO_SECRETS)
def test_what_stands_under_another_name_is_stored(name: str) -> None:
    for value in ("plain", ["plain"], {"a": "plain"}, 5, None):
        assert encoded({name: value, "k": [{name: value}]}) == {
            name: value,
            "k": [{name: value}],
        }


def test_numbers_booleans_and_none_are_stored_but_under_the_whole_names() -> None:
    value = {"my_password": True, "db_token": 5, "x_secret": None, "app_cookie": 1.5}
    assert encoded(value) == value
    assert encoded({"password": 12345, "token": 1}) == {"password": MARK, "token": MARK}


@pytest.mark.parametrize("key", [*KEYS, *PEMS], ids=lambda key: key[:14])
def test_a_key_is_known_by_its_look(key: str) -> None:
    for around in AROUND:
        before, after = around.split("{}")
        got = encoded({"content": around.format(key)})["content"]
        assert got.startswith(before) and got.endswith(after)
        assert MARK in got and key[12:] not in got
        assert encoded([got]) == [got]
    for deep in (json.dumps({"x": [key]}), json.dumps(json.dumps([key]))):
        got = encoded(deep)
        assert key[12:] not in json.dumps(json.loads(got)) and MARK in got
    assert encoded([key.encode()]) == [MARK]


@pytest.mark.parametrize("slash", ["/", "\\/"])
@pytest.mark.parametrize("url", WEBHOOKS)
def test_the_path_of_a_webhook_is_hidden(url: tuple[str, str], slash: str) -> None:
    shown, hidden = (part.replace("/", slash) for part in url)
    for before, after in (("", ""), ("post to ", ", please"), ('{"url":"', '"}')):
        for wrap in (str, json.dumps):
            text = wrap(before + shown + hidden + after)
            assert encoded([text]) == [wrap(before + shown + MARK + after)]


def test_keys_of_dicts_that_are_secrets_stay_apart() -> None:
    got = encoded({KEYS[0]: 1, KEYS[1]: 2, "plain": 3})
    assert sorted(got.values()) == [1, 2, 3]
    assert all(key == "plain" or key.startswith(MARK) for key in got)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("secret", [SECRET, "p\u00e4ss-w0rd_x", "0123456789abcDEF+/"])
def test_a_value_is_hidden_inside_of_a_text(pair: str, secret: str) -> None:
    text = pair.format(secret)
    for whole in (text, f"before {text} after", f"\U0001f680\n{text}\n\u00e9"):
        got = encoded({"content": whole})["content"]
        assert secret not in got and MARK in got
        assert encoded([got]) == [got]
        if text.startswith('{"'):
            json.loads(encoded(text))
    for deep in (json.dumps({"x": text}), json.dumps([json.dumps({"x": text, "y": 1})])):
        got = encoded(deep)
        assert secret not in json.dumps(json.loads(got), ensure_ascii=False)
        assert secret[-7:] not in got and MARK in got


def test_what_is_around_a_secret_stays() -> None:
    cases = {
        '{"a": 1, "api_key": "S-1", "b": [2]}': '{"a": 1, "api_key": "%s", "b": [2]}',
        "x=1&token=S-1&y=2": "x=1&token=%s&y=2",
        "A=1\nTOKEN=S-1\nB=2": "A=1\nTOKEN=%s\nB=2",
        "Authorization: Bearer S-1\nHost: h": "Authorization: Bearer %s\nHost: h",
        "postgres://u:S-1@h:1/d?x=y": "postgres://u:%s@h:1/d?x=y",
        "f(password='S-1', n=2)": "f(password='%s', n=2)",
    }
    for text, wanted in cases.items():
        assert encoded(text) == wanted % MARK


@pytest.mark.parametrize("text", PROSE)
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    for whole in (text, f"x {text} y", [text], {"a": text}, json.dumps({"k": [text]})):
        assert encoded(whole) == whole


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    for shift in range(0, 200, 3):
        for secret in (KEYS[1], f"password='{SECRET}'", PEMS[0]):
            text = "word " * 120 + "x" * shift + " " + secret + " word" * 400
            got = encoded([text, "last"], max_payload=1024)
            assert len(json.dumps(got)) <= 1100 and got[1] == "last"
            for at in range(12, len(secret) - 8):
                assert secret[at : at + 8] not in got[0].replace(" word", "")


@pytest.mark.parametrize(
    "unit",
    [
        "sk-",
        "eyJa-",
        "a://b:c/",
        "-----BEGIN PRIVATE KEY-",
        ":",
        '"a":{',
        "secret=a(",
        "secret={{",
        "secret: str, ",
        "secret={'",
        "authorization: a ",
        "secret:*",
    ],
)
def test_the_search_is_linear(unit: str) -> None:
    """A square would take hours."""
    text = unit * (3_000_000 // len(unit))
    texts = [text, f"x {text})"]
    assert len(encode_json(texts, max_payload=1 << 26)) > 0


text_parts = st.sampled_from(
    [
        *KEYS,
        *(p.format(SECRET) for p in PAIRS),
        *PROSE,
        "\\",
        '"',
        "'",
        ":",
        "=",
        "@",
        "{",
        "}",
    ]
)


some_text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@given(st.lists(st.one_of(text_parts, some_text), max_size=8))
def test_redaction_keeps_json_valid_and_is_idempotent(parts: list[str]) -> None:
    text = "".join(parts)
    got = encoded({"a": text, text: [text]})
    again = encoded(got["a"])
    assert encoded(again) == again
    assert encoded(text, redact=[]) == text


@given(st.text(alphabet="abc xyz.,;!?-\n\u00e9\u4e2d\U0001f680\\\"'", max_size=300))
def test_nothing_is_removed_when_no_rule_matches(text: str) -> None:
    assert encoded([text, {text: text}]) == [text, {text: text}]


def test_rules_and_names_are_switched() -> None:
    value = {"pin": "1", "my_token": "x", "text": KEYS[4], "jwt_like": KEYS[17]}
    assert encoded(value)["my_token"] == MARK
    got = encoded(value, redact="+pin, -github, -my_token")
    assert got == {**value, "pin": MARK, "jwt_like": MARK}
    assert encoded(value, redact=["default", "pin", "-names"])["my_token"] == "x"
    assert encoded(value, redact=["pin"]) == {**value, "pin": MARK}
    assert encoded({"x": "password=abc1"}, redact="-texts") == {"x": "password=abc1"}


class State(TypedDict, total=False):
    d: Any


def secret_places(secret: str) -> dict[str, Any]:
    return {
        "openai_api_key": secret,
        "text": f"password={secret} and more",
        "large": "word " * 5000 + f"token={secret} " + "word " * 5000,
        "deep": json.dumps({"messages": json.dumps({"client_secret": secret})}),
    }


def everything(store: Store) -> str:
    rows = store.query("SELECT * FROM workflow_runs")
    return repr([*rows, *store.query("SELECT * FROM run_parts")])


def test_log_run_stores_no_secret_anywhere(store: Store) -> None:
    with runlog.Recorder(**store.options) as recorder:
        recorder.log_run(
            minimal(
                inputs=secret_places(SECRET),
                outputs=[secret_places(SECRET)],
                node_logs=[{"node": "n", "inputs": secret_places(SECRET)}],
                metadata={"tags": [f"api_key={SECRET}"], "access_token": SECRET},
                error_text=f"connecting to postgresql://u:{SECRET}@h/db failed",
                error_type="E",
            )
        )
        run: Any = recorder.get_run("r1")
        assert run["error_text"] == f"connecting to postgresql://u:{MARK}@h/db failed"
        assert run["inputs"]["large"].count(MARK) == 1
    assert SECRET not in everything(store)


def test_the_handler_stores_no_secret_anywhere(store: Store) -> None:
    def act(state: State) -> State:
        raise ValueError(f"Authorization: Bearer {SECRET}abcdef was refused")

    graph = StateGraph(State).add_node("n", act).add_edge(START, "n").compile()
    with runlog.Recorder(**store.options) as recorder:
        handler = RunLogHandler("w", recorder=recorder)
        config: Any = {
            "callbacks": [handler],
            "metadata": {"x-api-key": SECRET},
            "tags": [f"token={SECRET}"],
        }
        with pytest.raises(ValueError, match="was refused"):
            graph.invoke({"d": secret_places(SECRET)}, config)
        (run,) = recorder.list_runs(wpk_id="w").runs
        whole: Any = recorder.get_run(run["run_id"], "w")
        assert MARK in whole["error_text"]
    assert SECRET not in everything(store)


def test_regression_a_cut_tag_or_setting_leaves_no_half_of_a_secret(
    tmp_path: Path,
) -> None:
    """They are cut before they are encoded."""

    def nothing(state: State) -> State:
        return {}

    graph = StateGraph(State).add_node("n", nothing).add_edge(START, "n").compile()
    with runlog.Recorder(sqlite_path=tmp_path / "runs.db") as recorder:
        for behind in (440, 470, 490, 1980, 2000, 2020):
            text = "w " * 3000 + KEYS[1] + " " + "v " * (behind // 2)
            config: Any = {
                "callbacks": [RunLogHandler("w", recorder=recorder)],
                "configurable": {"note": text},
                "tags": [text, "plain"],
            }
            graph.invoke({"d": 1}, config)
            run: Any = recorder.get_run(recorder.list_runs().runs[0]["run_id"], "w")
            kept = repr(run["metadata"])
            assert "plain" in kept and kept.count("<cut: ") == 2
            assert not any(KEYS[1][at : at + 8] in kept for at in range(8, 50))


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_handler_keeps_no_text_for_other_rules(size: int, tmp_path: Path) -> None:
    text = f"password={SECRET} " + "word " * (size // 5)
    path = str(tmp_path / "runs.db")
    handler = RunLogHandler("w")
    config: Any = {"callbacks": [handler]}

    def change_rules(state: State) -> State:
        runlog.configure(sqlite_path=path, redact="default")
        other = threading.Thread(target=plain.invoke, args=({"d": {"x": text}}, config))
        other.start()
        other.join()
        return {}

    def nothing(state: State) -> State:
        return {}

    plain = StateGraph(State).add_node("n", nothing).add_edge(START, "n").compile()
    outer = StateGraph(State).add_node("o", change_rules).add_edge(START, "o").compile()
    runlog.configure(sqlite_path=path, redact=())
    try:
        outer.invoke({"d": {"x": text}}, config)
        runs = [runlog.get_run(run["run_id"], "w") for run in runlog.list_runs().runs]
    finally:
        runlog.close()
    shown = [run for run in runs if SECRET in repr(run)]
    assert [MARK in repr(run) for run in runs if run not in shown] == [True]
    assert len(shown) == 1


# Passwords in DSNs.

PARTS = ["S3cret", "tAil9"]
USER = "postgresql://app:"
DSNS = [
    *(f"{USER}S3cret{sign}tAil9@127.0.0.1:1/prod" for sign in "/@#?:[]%&="),
    *(f"{USER}S3cret{sign}tAil9@127.0.0.1:1" for sign in ("/@", "@/", "?/", "/?", "@@")),
    f"{USER}12345/S3cret@127.0.0.1:1/prod",
    f"{USER}S3cret@tAil9:1@127.0.0.1/prod",
    f"{USER}S3cret",
    f"{USER}S3cret/tAil9",
    f"{USER}S3cret%2FtAil9@127.0.0.1:1/prod",
    f"{USER}x@127.0.0.1:1/prod?sslmode=S3crettAil9",
    "postgresql+psycopg://app:S3cret@127.0.0.1:1/tAil9",
    "postgresql+psycopg://app:S3cret@127.0.0.1:1/tAil9?sslmode=disable",
    "host=127.0.0.1 port=1 password=S3cret tAil9",
    "host=127.0.0.1 port=1 password=S3cret tAil9=1",
    "host=127.0.0.1 port=1 password=S3cret sslmode=tAil9",
    "host=127.0.0.1 port=1 password='S3cret\\' tAil9",
    "host=127.0.0.1 port=1 password='S3cret\\' tAil9'",
    "host=127.0.0.1 port=1 password=S3cret\\ tAil9",
    "host=127.0.0.1 port=S3cret",
    "host=127.0.0.1 port=1 dbname=postgresql://app:S3cret@h/tAil9",
    "host=app:S3cret@tAil9 port=1",
    f"{USER}1/S3cret?options=tAil9@127.0.0.1/prod",
    f"{USER}1/S3cret?application_name=x@127.0.0.1/prod",
    f"{USER}S3cret@tAil9?host=x@127.0.0.1:1/prod",
    *(
        f"host=127.0.0.1{sign}{before}password{equals}S3cret port=1"
        for sign in (";", ",", "&", ", ", "; ")
        for before in ("", "port=1;")
        for equals in ("=",)
    ),
    "host='127.0.0.1 password=S3cret' port=1",
    "host='127.0.0.1; password = S3cret' port=1",
    "hostaddr=127.0.0.1;password=S3cret port=1",
    "Host=127.0.0.1;Password=S3cret",
    "host=app:S3cret port=1",
    "host=127.0.0.1 port=1;password=S3cret",
    *(
        f"host=127.0.0.1 port=1 {name}={value};password=S3cret"
        for name, value in {
            "user": "app",
            "dbname": "prod",
            "sslmode": "disable",
            "application_name": "x",
            "options": "-cgeqo=off",
            "connect_timeout": "2",
        }.items()
    ),
    "host=127.0.0.1 port=1 user=app,password=S3cret",
    "host=127.0.0.1 port=1 user=app:S3cret",
    "host=127.0.0.1 port=1 user=app:S3cret@tAil9",
    "host=127.0.0.1 port=1 dbname=app:S3cret@tAil9",
    "postgresql://127.0.0.1:1/prod;password=S3cret",
    "postgresql://127.0.0.1:1/prod&password=S3cret",
    "postgresql://127.0.0.1;password=S3cret/prod",
    "postgresql://app;password=S3cret@127.0.0.1:1/prod",
    "postgresql://app,password=S3cret@127.0.0.1:1/prod",
    "postgresql://127.0.0.1:1/prod?user=app;password=S3cret",
    "postgresql://127.0.0.1:1/prod?user=app:S3cret",
]


def said_by(recorder: Any) -> Iterator[Any]:
    """Everything that a recorder says of its server."""
    calls: list[Callable[[], Any]] = [
        lambda: recorder.log_run(minimal()),
        lambda: recorder.get_run("r1"),
        recorder.list_runs,
        lambda: recorder.delete_runs(run_id="r1"),
        lambda: recorder.flush(0.1),
    ]
    for call in calls:
        try:
            yield call()
        except runlog.RunlogError as error:
            for one in (error, error.__cause__, error.__context__):
                yield from (str(one), repr(one), getattr(one, "args", ()))
    yield from (repr(recorder), str(recorder), recorder.stats())


@pytest.mark.parametrize("dsn", DSNS)
def test_no_message_has_a_part_of_a_password(
    dsn: str,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And neither has the journal, or what `runlog doctor` prints."""
    caplog.set_level(logging.DEBUG)
    options: Any = {"postgres_dsn": dsn, "sqlite_path": str(tmp_path / "j.db")}
    with runlog.Recorder(
        **options, postgres_timeout=0.2, durability="journal"
    ) as journaling:
        journaling.log_run(minimal())
        said = repr(journaling.stats())
    recorder = runlog.Recorder(**options, postgres_timeout=0.2)
    said += repr(list(said_by(recorder)))
    recorder.close(0)
    monkeypatch.setenv("POSTGRES_DSN", dsn)
    monkeypatch.setenv("RUNLOG_SQLITE_PATH", options["sqlite_path"])
    monkeypatch.setenv("RUNLOG_POSTGRES_TIMEOUT", "0.2")
    main(["doctor"])
    said += caplog.text + "".join(capfd.readouterr())
    said += "".join(
        file.read_bytes().decode("latin-1") for file in tmp_path.glob("j.db*")
    )
    assert "PostgreSQL" in said
    assert not [part for part in (*PARTS, "12345") if part in said]


@pytest.mark.parametrize("where", ["variable", "file", "dsn", "encoded"])
def test_a_password_that_the_server_repeats_is_hidden(
    where: str,
    postgres_server: PostgresServer,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The role's name is the password, and the server names the role that it lacks."""
    dsn = postgres_server.dsn("postgres").replace("user=postgres", f"user=no-{SECRET}")
    if where == "variable":
        monkeypatch.setenv("PGPASSWORD", SECRET)
    elif where == "file":
        passwords = tmp_path / "pgpass"
        passwords.write_text(f"*:*:*:*:{SECRET}\n")
        passwords.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(passwords))
    elif where == "dsn":
        dsn += f" password='{SECRET}'"
    else:
        fields = dict(field.split("=", 1) for field in dsn.split())
        dsn = (
            f"postgresql://no-{SECRET}:hunter2%2DXq9@/{fields['dbname']}"
            f"?host={fields['host']}&port={fields['port']}"
        )
    options: Any = {"postgres_dsn": dsn, "sqlite_path": str(tmp_path / "j.db")}
    recorder = runlog.Recorder(**options)
    said = repr(list(said_by(recorder)))
    recorder.close(0)
    assert "no-***" in said and SECRET not in said


@pytest.mark.parametrize(
    "url",
    [
        "http://u:S3cret/tAil9@127.0.0.1:1/v1",
        "http://u:12345/tAil9@127.0.0.1:1/v1",
        "http://u:12345#tAil9@127.0.0.1:1/v1",
        "http://u:12345?tAil9@127.0.0.1:1/v1",
        "http://u:S3cret@tAil9@127.0.0.1:1",
        "http://u:S3cret%2FtAil9@127.0.0.1:1/v1",
    ],
)
def test_no_error_has_a_part_of_a_password_in_a_url(url: str, tmp_path: Any) -> None:
    keys = {"openai_key": "k", "service_timeout": 0.2}
    for setting in ({"openai_base_url": url}, {"milvus_endpoint": url}):
        options: Any = {"sqlite_path": str(tmp_path / "r.db"), **keys, **setting}
        said = ""
        try:
            with runlog.Recorder(**options) as recorder:
                recorder.log_run(minimal())
                if "milvus_endpoint" in setting:
                    recorder.upsert_to_milvus("r1", [0.5, 0.5], {})
                else:
                    recorder.generate_embedding("text")
        except runlog.RunlogError as error:
            said = repr((error, error.args, error.__cause__, error.__context__))
        assert said
        assert not [part for part in (*PARTS, "12345") if part in said]


def settings() -> list[str]:
    """The variables of the environment that the sources know."""
    texts = [path.read_text("utf-8") for path in ROOT.glob("src/py/**/*.c")]
    names = re.findall(r'", "([A-Z]+_[A-Z_]+)"\}', "".join(texts))
    assert {"RUNLOG_MAX_PAYLOAD", "RUNLOG_DURABILITY", "POSTGRES_DSN"} < set(names)
    return sorted(set(names))


@pytest.mark.parametrize("variable", settings())
def test_no_error_shows_a_secret_that_was_given_to_the_wrong_option(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (f"{USER}S3crettAil9@127.0.0.1:1/prod", "S3crettAil9"):
        monkeypatch.setenv(variable, value)
        try:
            runlog.Recorder().close()
        except runlog.ConfigError as error:
            assert variable in str(error)
            assert not any(part in str(error) for part in PARTS)


def test_the_docs_list_all_rules() -> None:
    source = (ROOT / "src" / "core" / "redact.c").read_text()
    rules = re.findall(r"\[RL_RULE_\w+\] = \"(\w+)\"", source)
    page = (ROOT / "docs" / "redaction.md").read_text()
    listed = re.findall(r"^\| (\w+) \| ", page, re.MULTILINE)
    assert listed == ["rule", *rules, "item"]
    looks = (ROOT / "src" / "core" / "redact_looks.c").read_text()
    for prefix in re.findall(
        r"^    \{\"([^\"]+)\", RL_RULE_(?!WEBHOOKS|SLACK)", looks, re.MULTILINE
    ):
        assert prefix in page


@pytest.mark.parametrize("at", ["begin", "end"])
def test_long_bytes_are_searched_as_far_as_they_are_stored(at: str) -> None:
    key, filler = b"sk-proj-" + b"a1B2" * 12, b"word " * 8_000_000
    value = key + b" " + filler if at == "begin" else filler + key
    assert encoded(value) == "<redacted>"
