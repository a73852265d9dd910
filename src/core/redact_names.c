/* Names of secrets, by their parts. See redact.h.
 *
 * "openaiApiKey", "OPENAI_API_KEY" and "x-api-key" have the parts (openai, api, key) and
 * (x, api, key): a name is that of a secret if one of its parts is a word for one, with
 * the part before it ("api key", not "primary key"), unless a part after it says that
 * something about the secret is meant ("token_count", "password_policy").
 */
#include "core/redact.h"

#include <string.h>

#define PARTS 16
#define NAME_MAX_LEN ((size_t)128) /* bytes: longer keys are no names */

typedef struct part {
    const char *text; /* in lower case */
    size_t len;
} part;

/* Lists of words: each between two spaces. */
/* Also in the plural, and at the end of a part: "dbpasswords". */
static const char *const secrets[] = {
    "password", "passwd",     "pwd",     "passphrase",      "passcode", "passwort",
    "secret",   "credential", "cookie",  "bearer",          "jwt",      "authorization",
    "dsn",      "otp",        "connstr", "connectionstring"};
static const char short_words[] = " cred creds "; /* as a whole: "sacred" is none */
static const char tokens_of[] = " access refresh auth oauth api id bearer session secret "
                                "device bot personal security csrf xsrf ";
static const char plain_tokens[] =
    " max min num n next page previous prev first last per new total input output prompt "
    "completion cached cache reasoning audio image text eos bos pad unk mask sep cls "
    "stop "
    "start end special continuation cursor sync budget used remaining estimated context "
    "word sub current extra generated pagination starting resume resumption skip delta "
    "after before ";
/* Behind "token", unless that is the token of something: what is said of a token of text,
 * or of a coin. */
static const char of_token[] =
    " str string text texts position positions offset offsets prob probs probability "
    "probabilities score scores splitter counter classifier classification label labels "
    "span spans stream chunk chunks chunking window similarity overlap distance symbol "
    "address amount balance supply decimals contract ";
static const char keys_of[] =
    " api access secret private encryption encrypt decryption decrypt signing sign auth "
    "master account subscription ssh shared deploy webhook consumer session service role "
    "admin root hmac aes rsa pgp gpg tls ssl license openai anthropic claude "
    "gemini google gcp aws azure mistral cohere groq hf huggingface stripe sendgrid "
    "twilio slack github gitlab pinecone langsmith langchain langfuse tavily serper "
    "serpapi deepseek xai together fireworks replicate voyage jina openrouter perplexity "
    "nvidia app application server anon fernet cipher unseal functions cosmos qdrant "
    "weaviate elastic elasticsearch supabase firebase algolia bing wandb mailgun zilliz "
    "milvus datadog ";
static const char pass_of[] = " db database user smtp redis mysql pg postgres ftp sftp "
                              "mail email admin root proxy login ldap imap ssh become "
                              "sudo rabbitmq mongo mongodb kafka sasl vault ";
static const char signatures_of[] =
    " function method type call class tool fn email mail py python ";
static const char about[] =
    " type types count counts usage limit limits length len size id ids status state url "
    "uri urls endpoint endpoints policy required enabled disabled expiry expires "
    "expiration expired expire at in ttl age hint name names field fields strength "
    "version index budget cost costs price rate ratio attempts changed updated created "
    "algorithm algorithms alg format provider providers method methods mode scheme "
    "schemes "
    "scope scopes verified valid present set exists used file path arn manager store "
    "issuer audience lifetime estimate estimator details consent banner domain reset "
    "logprobs logprob embedding embeddings date dates accepted notice preferences ";

static bool is_in(const char *list, part word)
{
    const char *at = list;
    bool found = false;

    if (word.len == 0) {
        return false;
    }
    while (!found && (at = strchr(at, ' ')) != NULL && at[1] != '\0') {
        at++;
        found = strncmp(at, word.text, word.len) == 0 && at[word.len] == ' ';
    }
    return found;
}

/* A word without the "s" of its plural. */
static part singular(part word)
{
    const bool plural = word.len > 1 && word.text[word.len - 1] == 's';

    return (part){word.text, word.len - plural};
}

static bool is(part word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.text, text, word.len) == 0;
}

/* Whether a part ends with a word; *rest gets what is before it. */
static bool ends(part word, const char *text, part *rest)
{
    size_t len = strlen(text);

    rest->text = word.text;
    rest->len = word.len > len ? word.len - len : 0;
    return word.len > len && memcmp(word.text + rest->len, text, len) == 0;
}

/* Whether a part is one of the words for secrets. */
static bool is_secret_word(part word)
{
    const part one = singular(word);
    bool found = is_in(short_words, word);

    for (size_t i = 0; i < sizeof secrets / sizeof *secrets && !found; i++) {
        found = is(one, secrets[i]);
    }
    return found;
}

/* Whether it ends with one. */
static bool ends_with_secret_word(part word)
{
    const part one = singular(word);
    bool found = false;
    part rest;

    for (size_t i = 0; i < sizeof secrets / sizeof *secrets && !found; i++) {
        found = ends(one, secrets[i], &rest);
    }
    return found;
}

#define BIT(c) RL_LETTER_BIT(c)

/* Most names have not the letters of any word. Four words at a time: the compiler uses
 * the machine's vectors, so there are sixteen of them. */
bool rl_redact_has_letters(uint32_t bits)
{
    static const uint32_t words[16] = {
        BIT('k') | BIT('e') | BIT('y'),            /* key */
        BIT('t') | BIT('o') | BIT('k') | BIT('n'), /* token */
        BIT('p') | BIT('a') | BIT('s'),            /* password, pass */
        BIT('p') | BIT('w') | BIT('d'),            /* pwd */
        BIT('s') | BIT('e') | BIT('c') | BIT('r') | BIT('t'),
        BIT('c') | BIT('r') | BIT('e') | BIT('d'), /* credentials */
        BIT('c') | BIT('o') | BIT('k') | BIT('i'), /* cookie */
        BIT('a') | BIT('u') | BIT('t') | BIT('h'), /* authorization */
        BIT('b') | BIT('e') | BIT('a') | BIT('r'), /* bearer */
        BIT('j') | BIT('w') | BIT('t'),
        BIT('d') | BIT('s') | BIT('n'),
        BIT('s') | BIT('i') | BIT('g'), /* signature, sig */
        BIT('o') | BIT('t') | BIT('p'),
        BIT('c') | BIT('o') | BIT('n') | BIT('s') | BIT('t') | BIT('r'),
        BIT('c') | BIT('o') | BIT('n') | BIT('s') | BIT('t') | BIT('r'),
        BIT('c') | BIT('o') | BIT('n') | BIT('s') | BIT('t') | BIT('r')};
    uint32_t any = 0;

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        any |= (bits & words[i]) == words[i];
    }
    return any != 0;
}

static bool has_letters(const char *name, size_t len)
{
    uint32_t bits = 0;

    for (size_t i = 0; i < len; i++) {
        bits |= RL_LETTER_BIT(name[i]);
    }
    return rl_redact_has_letters(bits);
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* Splits a name at what is no letter and where a capital begins a word. `folded` gets it
 * in lower case. */
static size_t split(const char *name, size_t len, char *folded, part parts[PARTS])
{
    size_t count = 0, start = 0;

    for (size_t i = 0; i <= len; i++) {
        char c = i < len ? name[i] : ' ';
        bool letter = is_lower(c) || is_upper(c) || (c & 0x80) != 0;
        bool next_lower = i + 1 < len && is_lower(name[i + 1]);
        bool begins = i > start && is_upper(c) &&
                      (is_lower(name[i - 1]) || (is_upper(name[i - 1]) && next_lower));

        if ((!letter || begins) && i > start && count < PARTS) {
            parts[count++] = (part){folded + start, i - start};
        }
        if (!letter) {
            start = i + 1;
        } else if (begins) {
            start = i;
        }
        if (i < len) {
            folded[i] = is_upper(c) ? (char)(c - 'A' + 'a') : c;
        }
    }
    return count;
}

/* A part that is written together: "accesstoken", "openaiapikey", "dbpassword". */
static bool is_joined_secret(part word)
{
    static const char *const kinds[] = {"api", "secret", "access", "private"};
    bool found = ends_with_secret_word(word);
    part rest, before;

    if (!found && ends(singular(word), "signature", &rest)) {
        found = !is_in(signatures_of, rest);
    }
    if (!found && ends(word, "pass", &rest)) {
        found = is_in(pass_of, rest);
    }
    if (!found && ends(word, "token", &rest)) {
        found = !is_in(plain_tokens, rest);
    }
    if (!found && ends(word, "tokens", &rest)) {
        found = is_in(tokens_of, rest);
    }
    if (!found && (ends(word, "key", &rest) || ends(word, "keys", &rest))) {
        found = is_in(keys_of, rest);
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !found; i++) {
            found = ends(rest, kinds[i], &before);
        }
    }
    return found;
}

/* The part at a place, with the part before it if nothing stands between them but a
 * capital: "openAI", "passCode". */
static part with_part_before(const part *parts, size_t at)
{
    part joined = parts[at];

    if (at > 0 && parts[at - 1].text + parts[at - 1].len == joined.text) {
        joined.text = parts[at - 1].text;
        joined.len += parts[at - 1].len;
    }
    return joined;
}

static bool is_secret_key(const part *parts, size_t at)
{
    const part before = at > 0 ? parts[at - 1] : (part){"", 0};
    const part both = at > 0 ? with_part_before(parts, at - 1) : before;

    return is_in(keys_of, before) || (both.len > before.len && is_in(keys_of, both));
}

/* Whether the part at a place is a word for a secret. */
static bool is_secret(const part *parts, size_t count, size_t at)
{
    const part word = parts[at], before = at > 0 ? parts[at - 1] : (part){"", 0};
    const part next = at + 1 < count ? parts[at + 1] : (part){"", 0};
    const part one = singular(word), joined = with_part_before(parts, at);
    bool found = false;

    if (is(word, "token")) {
        found = !is_in(plain_tokens, before) &&
                (is_in(tokens_of, before) || !is_in(of_token, next));
    } else if (is(word, "tokens")) {
        found = is_in(tokens_of, before);
    } else if (is(one, "key")) {
        found = is_secret_key(parts, at);
    } else if (is(one, "signature")) {
        found = !is_in(signatures_of, before);
    } else if (is(word, "auth")) {
        found = at + 1 == count || is(next, "header") || is(next, "code");
    } else if (is(word, "sig")) {
        found = count == 1;
    } else if (is(word, "pass")) {
        found = is_in(pass_of, before) || is(next, "word");
    } else if (is(one, "string") || is(word, "str")) {
        found = is(before, "connection") || is(before, "conn");
    } else {
        found = has_letters(word.text, word.len) &&
                (is_secret_word(word) || is_joined_secret(word));
    }
    if (!found && joined.len > word.len && has_letters(joined.text, joined.len)) {
        found = is_secret_word(joined);
    }
    return found;
}

bool rl_redact_name_parts(const char *name, size_t len)
{
    char folded[NAME_MAX_LEN];
    part parts[PARTS];
    size_t count;
    bool found = false;

    if (len < 3 || len > NAME_MAX_LEN || !has_letters(name, len)) {
        return false;
    }
    count = split(name, len, folded, parts);
    for (size_t i = 0; i < count && !found; i++) {
        found = is_secret(parts, count, i);
        for (size_t j = i + 1; j < count && found; j++) {
            found = !is_in(about, parts[j]);
        }
    }
    return found && !is(parts[0], "has") && !is(parts[0], "is");
}
