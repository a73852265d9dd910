/* Names with their values inside texts. See redact_scan.h.
 *
 * JSON, also JSON inside JSON, Python's repr, query strings, .env files, headers, and
 * keywords with values. In JSON inside of JSON each quote has backslashes before it; a
 * string ends at a quote with as many as it began with.
 */
#include "core/redact_scan.h"

#include <string.h>

#define NAME_MOST ((size_t)64)
#define SPACE_MOST ((size_t)64) /* between a name in quotes, its colon and its value */
#define MARK_LEN (sizeof RL_REDACTED - 1)
#define BRACKETS_MOST ((size_t)8) /* before the first string of a container */
#define CALL_MOST ((size_t)256)   /* of the arguments of a call: what is looked at */
#define TYPE_MOST ((size_t)64)    /* of an annotation */
#define CODE_MOST ((size_t)4096)  /* a longer value is no code */
#define SCHEME_MOST ((size_t)24)  /* of the name of an authentication scheme */

static bool is_quote(char c)
{
    return c == '"' || c == '\'' || c == '`';
}

/* Whether a line ends at a place: by its character, or by the escape that stands for it. */
static bool is_line_end(const rl_scan *scan, size_t at)
{
    const char c = rl_scan_at(scan, at);
    size_t slashes = rl_scan_backslashes(scan, at);

    return at >= scan->len || c == '\n' || c == '\r' ||
           (slashes > 0 && rl_is_in("nr", rl_scan_at(scan, at + slashes)));
}

/* The length of white space at a place, or of the escape that stands for it: of one of
 * two characters, or of one of their two letters. 0: none. */
static size_t space_len(const rl_scan *scan, size_t at, const char *chars)
{
    const size_t slashes = rl_scan_backslashes(scan, at);
    const char c = rl_scan_at(scan, at + slashes);

    if (slashes == 0) {
        return c != '\0' && (c == chars[0] || c == chars[1]) ? 1 : 0;
    }
    return c == chars[2] || c == chars[3] ? slashes + 1 : 0;
}

static size_t line_break(const rl_scan *scan, size_t at)
{
    return space_len(scan, at, "\n\rnr");
}

/* The place behind white space, of several lines. */
static size_t skip_space(const rl_scan *scan, size_t at)
{
    const size_t from = at;
    size_t len = 1;

    while (len > 0 && at - from < SPACE_MOST) {
        len = space_len(scan, at, " \ttt");
        len = len > 0 ? len : line_break(scan, at);
        at += len;
    }
    return at;
}

/* The place before the white space that ends at a place. */
static size_t skip_space_back(const rl_scan *scan, size_t end)
{
    const char *text = scan->text;
    size_t at = end;

    while (at > 0 && end - at < SPACE_MOST) {
        if ((unsigned char)text[at - 1] <= ' ') {
            at--;
        } else if (at > 1 && text[at - 2] == '\\' && rl_is_space_letter(text[at - 1])) {
            for (at--; at > 0 && text[at - 1] == '\\'; at--) {
            }
        } else {
            break;
        }
    }
    return at;
}

/* Names. */

typedef struct name {
    size_t at, end;
    size_t slashes; /* before each of its quotes */
    char quote;     /* or NUL */
} name;

static bool is_of_name(char c)
{
    return rl_is_alnum(c) || c == '_' || c == '-' || c == '.' || (c & 0x80) != 0;
}

/* The name in quotes that ends before the quote at a place. */
static name quoted_name(const rl_scan *scan, size_t quote)
{
    name found = {.end = quote, .quote = scan->text[quote]};
    size_t at;

    while (found.end > 0 && scan->text[found.end - 1] == '\\') {
        found.end--;
    }
    found.slashes = quote - found.end;
    at = found.end;
    while (at > 0 && found.end - at < NAME_MOST && scan->text[at - 1] != found.quote) {
        at--;
    }
    found.at = at > 0 && scan->text[at - 1] == found.quote ? at : found.end;
    return found;
}

/* "API key: ..." has the name "API key". */
static size_t with_word_before(const rl_scan *scan, size_t at, size_t end)
{
    size_t from = at;

    if (end - at >= 3 && at >= 2 && scan->text[at - 1] == ' ' &&
        ((scan->text[end - 1] | 0x20) == 'y' || (scan->text[end - 1] | 0x20) == 'g')) {
        from--;
        while (from > 0 && at - from < 16 && rl_is_alnum(scan->text[from - 1])) {
            from--;
        }
    }
    return at - from > 2 ? from : at;
}

static name bare_name(const rl_scan *scan, size_t end)
{
    name found = {.at = end, .end = end};

    while (found.at > 0 && end - found.at < NAME_MOST &&
           is_of_name(scan->text[found.at - 1])) {
        found.at--;
    }
    if (found.at > 0 && found.at < end && scan->text[found.at - 1] == '\\' &&
        rl_is_space_letter(scan->text[found.at])) {
        found.at++;
    } else {
        found.at = with_word_before(scan, found.at, end);
    }
    return found;
}

/* Whether the name before a sign may be that of a secret, by its letters: most are not,
 * and need no more than this. */
static bool may_be_secret(const rl_scan *scan, size_t sign)
{
    const char *text = scan->text, last = text[sign - 1];
    const size_t most = sign < NAME_MOST ? sign : NAME_MOST;
    size_t len = 0;
    uint32_t bits = 0;

    if (scan->set->hidden.count > 0 || (unsigned char)last <= ' ' || last == ']' ||
        last == '*' || (sign > 1 && text[sign - 2] == '\\' && rl_is_space_letter(last))) {
        return true; /* a name of the user's, or one that does not end here */
    }
    if (is_quote(last)) {
        for (len = 1; len < most && text[sign - 1 - len] == '\\'; len++) {
        }
        for (; len < most && text[sign - 1 - len] != last; len++) {
            bits |= RL_LETTER_BIT(text[sign - 1 - len]);
        }
        if ((bits & RL_LETTER_BIT('\\')) != 0) {
            return true; /* a letter may be an escape */
        }
    } else {
        while (len < most && is_of_name(text[sign - 1 - len])) {
            bits |= RL_LETTER_BIT(text[sign - 1 - len]);
            len++;
        }
        if (len > 2 && ((last | 0x20) == 'y' || (last | 0x20) == 'g')) {
            return true; /* with the word before it: "API key", "connection string" */
        }
    }
    return len > 2 && rl_redact_has_letters(bits);
}

static name name_before(const rl_scan *scan, size_t sign)
{
    size_t end = skip_space_back(scan, sign);

    if (end > 0 && is_quote(scan->text[end - 1])) {
        return quoted_name(scan, end - 1);
    }
    for (end = sign; end > 0 && sign - end < 4 && scan->text[end - 1] == ' '; end--) {
    }
    end -= end > 0 && scan->text[end - 1] == ']';   /* environ["NAME"] = , user[name]= */
    while (end > 0 && scan->text[end - 1] == '*') { /* **Password**: in Markdown */
        end--;
    }
    if (end > 0 && is_quote(scan->text[end - 1])) {
        return quoted_name(scan, end - 1);
    }
    return bare_name(scan, end);
}

static unsigned hex_of(char c)
{
    return rl_is_digit(c) ? (unsigned)(c - '0') : (unsigned)(c | 0x20) - 'a' + 10;
}

/* The character that \u and four digits stand for at a place, if it is one of ASCII, and
 * its end; else what stands there. */
static char unescaped(const rl_scan *scan, size_t *at)
{
    const size_t slashes = rl_scan_backslashes(scan, *at), digits = *at + slashes + 1;
    char c = scan->text[*at];

    if (slashes > 0 && rl_scan_has(scan, digits - 1, "u00", 3) &&
        rl_is_alnum(rl_scan_at(scan, digits + 2)) &&
        rl_is_alnum(rl_scan_at(scan, digits + 3))) {
        c = (char)(hex_of(scan->text[digits + 2]) << 4 | hex_of(scan->text[digits + 3]));
        *at = digits + 4;
    } else {
        *at += 1;
    }
    return c;
}

/* What a name says of its value. */
static rl_secrecy judge(const rl_scan *scan, const name *of)
{
    const size_t len = of->end - of->at;
    char plain[NAME_MOST];
    size_t count = 0;

    if (len == 0) {
        return RL_SHOWN;
    }
    if (of->quote == '\0' || len > NAME_MOST ||
        memchr(scan->text + of->at, '\\', len) == NULL) {
        return rl_redact_name(scan->set, scan->text + of->at, len);
    }
    for (size_t at = of->at; at < of->end; count++) {
        plain[count] = unescaped(scan, &at);
    }
    return rl_redact_name(scan->set, plain, count);
}

/* Values. */

/* The end of a string whose quotes have so many backslashes before them, from inside. */
static size_t string_end(const rl_scan *scan, size_t at, char quote, size_t slashes)
{
    size_t row = 0;

    for (; at < scan->len; at++) {
        char c = scan->text[at];

        if (c == quote &&
            (quote == '"' ? row % (2 * (slashes + 1)) == slashes : row == slashes)) {
            return at - slashes;
        }
        row = c == '\\' ? row + 1 : 0;
    }
    return at;
}

/* The end of an object or array that begins at a place. */
static size_t container_end(const rl_scan *scan, size_t at, const name *of)
{
    size_t depth = 0;

    while (at < scan->len) {
        char c = scan->text[at];

        if (c == of->quote) {
            at = string_end(scan, at + 1, c, of->slashes) + of->slashes;
        } else if (c == '{' || c == '[' || c == '(') {
            depth++;
        } else if ((c == '}' || c == ']' || c == ')') && --depth == 0) {
            return at + 1;
        }
        at++;
    }
    return scan->len;
}

/* The same where the name has no quotes, so those of the strings inside are not known. */
static size_t any_container_end(const rl_scan *scan, size_t at)
{
    size_t depth = 0, row = 0;

    for (; at < scan->len; at++) {
        char c = scan->text[at];

        if (c == '"' || c == '\'') {
            at = string_end(scan, at + 1, c, row) + row;
        } else if (c == '{' || c == '[' || c == '(') {
            depth++;
        } else if ((c == '}' || c == ']' || c == ')') && --depth == 0) {
            return at + 1;
        }
        row = c == '\\' ? row + 1 : 0;
    }
    return scan->len;
}

/* Whether a string begins at a place, maybe behind a letter as in b'...'. */
static bool begins_string(const rl_scan *scan, size_t at)
{
    at += rl_is_in("bBrRuUfF", rl_scan_at(scan, at)) ? 1 : 0;
    return is_quote(rl_scan_at(scan, at + rl_scan_backslashes(scan, at)));
}

/* Whether a list, a tuple or a dict with a string as its first item begins at a place. */
static bool begins_items(const rl_scan *scan, size_t at)
{
    const size_t from = at;

    while (at - from < BRACKETS_MOST && rl_is_in("{[( ", rl_scan_at(scan, at))) {
        at++;
    }
    return at > from && rl_scan_at(scan, from) != ' ' && begins_string(scan, at);
}

/* Whether the call whose arguments begin at a place has one that is a name and a string:
 * Python's repr of an object. */
static bool has_named_string(const rl_scan *scan, size_t at)
{
    const size_t from = at;
    size_t depth = 1;
    bool found = false;

    for (; at < scan->len && at - from < CALL_MOST && depth > 0 && !found; at++) {
        depth += scan->text[at] == '(';
        depth -= scan->text[at] == ')';
        found = scan->text[at] == '=' && begins_string(scan, at + 1);
    }
    return found;
}

static bool ends_word(const rl_scan *scan, size_t at)
{
    char c = rl_scan_at(scan, at);

    return at >= scan->len || (unsigned char)c <= ' ' || rl_is_in("\"'`,;&)]}>|\\", c);
}

static bool is_one_of(const rl_scan *scan, size_t at, size_t end,
                      const char *const *words, size_t count)
{
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        found = strlen(words[i]) == end - at &&
                memcmp(scan->text + at, words[i], end - at) == 0;
    }
    return found;
}

/* null, true, None and so on. */
static bool is_literal(const rl_scan *scan, size_t at, size_t end)
{
    static const char *const words[] = {"null", "true",  "false", "None",
                                        "True", "False", "NaN",   "undefined"};

    return is_one_of(scan, at, end, words, sizeof words / sizeof *words);
}

static bool is_number(const rl_scan *scan, size_t at, size_t end)
{
    bool number = at < end;

    for (; at < end && number; at++) {
        number = rl_is_digit(scan->text[at]) || rl_is_in("+-.eE_", scan->text[at]);
    }
    return number;
}

/* Whether the 'u' and four digits at a place stand for a character that is not ASCII, which
 * ends no value. */
static bool is_letter_escape(const rl_scan *scan, size_t at)
{
    bool is = rl_scan_at(scan, at) == 'u' && !rl_scan_has(scan, at + 1, "00", 2);

    for (size_t i = 1; i <= 4 && is; i++) {
        is = rl_is_alnum(rl_scan_at(scan, at + i));
    }
    return is || (rl_scan_has(scan, at, "u00", 3) && rl_scan_at(scan, at + 3) >= '8' &&
                  rl_is_alnum(rl_scan_at(scan, at + 3)) &&
                  rl_is_alnum(rl_scan_at(scan, at + 4)));
}

/* The end of a value without quotes. On a line of its own it ends with the line or at a
 * space, else at a sign that separates values as well. */
static size_t bare_end(const rl_scan *scan, size_t at, bool own_line)
{
    while (at < scan->len) {
        char c = scan->text[at];
        size_t slashes = rl_scan_backslashes(scan, at);

        if (slashes > 0 && is_letter_escape(scan, at + slashes)) {
            at += slashes + 5;
            continue;
        }
        if (slashes > 0 && slashes % 2 == 0 && scan->escaped &&
            !rl_is_space_letter(rl_scan_at(scan, at + slashes))) {
            at += slashes + 1; /* a backslash of the value, and what it escapes */
            continue;
        }
        if ((unsigned char)c <= ' ' || c == '"' || slashes > 0 ||
            (!own_line && rl_is_in("'`,;&)]}<>|", c))) {
            break;
        }
        at++;
    }
    return at;
}

/* Whether a value is code: a call, an index, a template. */
static bool is_code(const rl_scan *scan, size_t at, size_t end)
{
    size_t word = at;

    if (rl_scan_has(scan, at, "${", 2) || rl_scan_has(scan, at, "{{", 2) ||
        rl_scan_has(scan, at, "$(", 2)) {
        return true;
    }
    while (word < end &&
           (rl_is_alnum(scan->text[word]) || rl_is_in("_.", scan->text[word]))) {
        word++;
    }
    return word > at && rl_is_letter(scan->text[at]) &&
           ((rl_scan_at(scan, word) == '(' &&
             (rl_scan_at(scan, end) == ')' ||
              (word + 1 == end && begins_string(scan, end)))) ||
            (rl_scan_at(scan, word) == '[' &&
             (rl_scan_at(scan, end) == ']' ||
              (word + 1 == end && begins_string(scan, end)))));
}

/* Whether a word behind "name: " or "name = " is more than a word of prose or a type. */
static bool is_no_prose(const rl_scan *scan, size_t at, size_t end)
{
    static const char *const types[] = {
        "str",    "string",   "int",      "bytes",  "bool",    "float",  "optional",
        "any",    "Any",      "Optional", "number", "boolean", "object", "SecretStr",
        "String", "required", "none",     "yes",    "no"};
    bool letters = true;

    at += end - at > 1 && rl_is_in("([", scan->text[at]) ? 1 : 0; /* (see below) */
    for (size_t i = at; i < end && letters; i++) {
        letters = rl_is_letter(scan->text[i]) || (scan->text[i] & 0x80) != 0 ||
                  rl_is_in("._", scan->text[i]) ||
                  (rl_is_in("!?:*", scan->text[i]) && i + 1 == end);
    }
    return !letters || (is_line_end(scan, end) && end - at >= 4 &&
                        !is_one_of(scan, at, end, types, sizeof types / sizeof *types));
}

/* The scheme of an Authorization header, with the space behind it: its length, or 0. */
static size_t scheme_len(const rl_scan *scan, size_t at)
{
    static const char *const schemes[] = {
        "Bearer ", "Basic ",  "Digest ", "Token ", "ApiKey ",          "Negotiate ",
        "Bot ",    "bearer ", "basic ",  "token ", "AWS4-HMAC-SHA256 "};
    size_t found = 0;

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && found == 0; i++) {
        found = rl_scan_has(scan, at, schemes[i], strlen(schemes[i])) ? strlen(schemes[i])
                                                                      : 0;
    }
    return found;
}

static size_t line_end(const rl_scan *scan, size_t at)
{
    while (!is_line_end(scan, at) && !is_quote(scan->text[at])) {
        const size_t slashes = rl_scan_backslashes(scan, at);

        if (slashes > 0 && !is_letter_escape(scan, at + slashes)) {
            break;
        }
        at += slashes > 0 ? slashes + 5 : 1;
    }
    return at;
}

/* Whether a name ends with a word, in any case. */
static bool name_ends(const rl_scan *scan, const name *of, const char *word)
{
    const size_t len = strlen(word);
    bool same = of->end - of->at >= len;

    for (size_t i = 0; i < len && same; i++) {
        same = (scan->text[of->end - len + i] | 0x20) == word[i];
    }
    return same;
}

/* The same for a scheme of a service's own, as in "Authorization: Splunk 5ab...": a word,
 * and one behind it that is none of prose. */
static size_t own_scheme_len(const rl_scan *scan, size_t at)
{
    size_t word = at, end;
    bool found = false;

    while (word - at < SCHEME_MOST && (rl_is_alnum(rl_scan_at(scan, word)) ||
                                       rl_is_in("-_", rl_scan_at(scan, word)))) {
        word++;
    }
    if (word == at || rl_scan_at(scan, word) != ' ') {
        return 0;
    }
    end = bare_end(scan, ++word, false);
    if (!rl_is_alnum(rl_scan_at(scan, word)) || is_code(scan, word, end)) {
        return 0; /* "str = ...", "await f(x)" */
    }
    for (size_t i = word; i < end && !found; i++) {
        found = rl_is_digit(scan->text[i]) || rl_is_in("-_+/=:", scan->text[i]);
    }
    return found ? word - at : 0;
}

/* The value of a header: nothing if it is none. */
static rl_secret header_value(const rl_scan *scan, const name *of, size_t at)
{
    rl_secret found = {.at = at, .end = at};
    size_t len = scheme_len(scan, at), end;

    if (len == 0 && name_ends(scan, of, "authorization") &&
        (len = own_scheme_len(scan, at)) > 0) {
        found.at = at + len;
        found.end = line_end(scan, found.at);
    } else if (len > 0) {
        found.at = at + len;
        found.end = scan->text[at] == 'D' || scan->text[at] == 'A'
                        ? line_end(scan, found.at)
                        : bare_end(scan, found.at, false);
    } else if (name_ends(scan, of, "cookie")) {
        for (end = at; !ends_word(scan, end) && scan->text[end] != '='; end++) {
        }
        found.end = rl_scan_at(scan, end) == '=' ? line_end(scan, at) : at;
    }
    return found;
}

/* Whether a name stands at the beginning of a line, as in a .env file. */
static bool begins_line(const rl_scan *scan, size_t at)
{
    if (at >= 7 && memcmp(scan->text + at - 7, "export ", 7) == 0) {
        at -= 7;
    }
    return at == 0 || scan->text[at - 1] == '\n' ||
           (at >= 2 && scan->text[at - 2] == '\\' && scan->text[at - 1] == 'n');
}

/* A value without quotes. `spaced`: white space stands before it, or a colon. */
static rl_secret bare_value(const rl_scan *scan, const name *of, rl_secrecy secrecy,
                            size_t at, bool colon, bool spaced)
{
    rl_secret found = header_value(scan, of, at);
    const bool quoted = of->quote != '\0';
    const bool own_line = !colon && !spaced && !quoted && begins_line(scan, of->at);
    size_t end;

    if (found.end != found.at) {
        return found;
    }
    if (rl_scan_has(scan, at, RL_REDACTED, MARK_LEN)) {
        return (rl_secret){.at = at, .end = at};
    }
    end = bare_end(scan, at, own_line);
    if (end == at || (end == at + 1 && rl_is_in("([{", scan->text[at])) ||
        is_literal(scan, at, end) ||
        (!own_line && end - at <= CODE_MOST && is_code(scan, at, end))) {
        return found;
    }
    if (quoted) { /* JSON's numbers: as in a dict */
        if (is_number(scan, at, end) && secrecy != RL_HIDE_ALL) {
            return found;
        }
        found.quotes = (unsigned)of->slashes + 1;
        found.quote = of->quote;
    } else if ((colon || spaced) &&
               (is_number(scan, at, end)
                    ? !name_ends(scan, of, "word") && !name_ends(scan, of, "wd")
                    : !is_no_prose(scan, at, end))) {
        return found;
    }
    found.end = end;
    return found;
}

/* Whether quotes with so many backslashes stand at a place, thrice. */
static bool has_three_quotes(const rl_scan *scan, size_t at, char quote, size_t slashes)
{
    bool has = true;

    for (unsigned i = 0; i < 3 && has; i++, at += slashes + 1) {
        has = rl_scan_backslashes(scan, at) == slashes &&
              rl_scan_at(scan, at + slashes) == quote;
    }
    return has;
}

/* A string that begins at a place, with its quotes; three of them in TOML and Python. */
static rl_secret string_value(const rl_scan *scan, size_t at, char quote, size_t slashes)
{
    const bool three = has_three_quotes(scan, at, quote, slashes);
    rl_secret found = {.at = at + (slashes + 1) * (three ? 3 : 1)};

    found.end = string_end(scan, found.at, quote, slashes);
    while (three && found.end < scan->len &&
           !has_three_quotes(scan, found.end, quote, slashes)) {
        found.end = string_end(scan, found.end + slashes + 1, quote, slashes);
    }
    return found;
}

static size_t count_spaces(const rl_scan *scan, size_t at)
{
    size_t count = 0;

    while (rl_scan_at(scan, at + count) == ' ') {
        count++;
    }
    return count;
}

/* The end of a line of a block, or of the string in which it is. */
static size_t block_line_end(const rl_scan *scan, size_t at)
{
    while (at < scan->len && scan->text[at] != '"' && line_break(scan, at) == 0) {
        at += scan->text[at] == '\\' ? rl_scan_backslashes(scan, at) : 1;
    }
    return at;
}

static size_t skip_breaks(const rl_scan *scan, size_t at)
{
    size_t len;

    while ((len = line_break(scan, at)) > 0) {
        at += len;
    }
    return at;
}

/* A block of YAML, behind the '|' or '>' at a place: the lines that are indented as the
 * first one is. Nothing if it is none. */
static rl_secret block_value(const rl_scan *scan, size_t at)
{
    rl_secret found = {.at = at, .end = at};
    size_t start = at + 1, indent, line;

    while (start - at < 4 && rl_is_in("+-123456789 ", rl_scan_at(scan, start))) {
        start++;
    }
    line = skip_breaks(scan, start);
    indent = count_spaces(scan, line);
    if (line == start || indent == 0) {
        return found;
    }
    found.at = line + indent;
    while (count_spaces(scan, line) >= indent && line < scan->len) {
        found.end = block_line_end(scan, line + indent);
        line = skip_breaks(scan, found.end);
        if (line == found.end) {
            break;
        }
    }
    return found;
}

/* The value of a keyword that is Python's repr of an object, or a SecretStr of a literal:
 * the whole call, or the literal. Nothing if it is neither. */
static rl_secret repr_value(const rl_scan *scan, size_t at)
{
    rl_secret found = {.at = at, .end = at};
    size_t word = at;
    char c;

    while (rl_is_alnum(rl_scan_at(scan, word)) ||
           rl_is_in("_.", rl_scan_at(scan, word))) {
        word++;
    }
    if (word == at || rl_scan_at(scan, word) != '(') {
        return found;
    }
    if (has_named_string(scan, word + 1)) {
        found.end = any_container_end(scan, word);
    } else if (word - at >= 9 && begins_string(scan, word + 1) &&
               (rl_scan_has(scan, word - 9, "SecretStr", 9) ||
                (word - at >= 11 && rl_scan_has(scan, word - 11, "SecretBytes", 11)))) {
        word += rl_is_in("bBrRuUfF", rl_scan_at(scan, word + 1)) ? 2 : 1;
        at = rl_scan_backslashes(scan, word);
        c = scan->text[word + at];
        found = string_value(scan, word, c, at);
    }
    return found;
}

/* The default of a parameter or a field, behind the colon and its type: "str = 'x'".
 * Nothing if there is none. */
static rl_secret default_value(const rl_scan *scan, size_t at)
{
    rl_secret found = {.at = at, .end = at};
    size_t end = at, depth = 0, slashes;

    while (end - at < TYPE_MOST && (rl_is_alnum(rl_scan_at(scan, end)) ||
                                    rl_is_in("_.[]| ", rl_scan_at(scan, end)) ||
                                    (depth > 0 && rl_scan_at(scan, end) == ','))) {
        depth += rl_scan_at(scan, end) == '[';
        depth -= depth > 0 && rl_scan_at(scan, end) == ']';
        end++;
    }
    if (rl_scan_at(scan, end) != '=' || rl_scan_at(scan, end + 1) == '=') {
        return found;
    }
    for (end++; rl_scan_at(scan, end) == ' '; end++) {
    }
    if (begins_string(scan, end)) {
        end += rl_is_in("bBrRuUfF", rl_scan_at(scan, end)) ? 1 : 0;
        slashes = rl_scan_backslashes(scan, end);
        found = string_value(scan, end, scan->text[end + slashes], slashes);
    }
    return found;
}

/* The value at a place, behind white space. */
static rl_secret value_at(const rl_scan *scan, const name *of, rl_secrecy secrecy,
                          size_t at, bool colon, bool spaced)
{
    const size_t prefix = rl_is_in("bBrRuUfF", rl_scan_at(scan, at)) ? 1 : 0;
    size_t slashes = rl_scan_backslashes(scan, at + prefix);
    char c = rl_scan_at(scan, at + prefix + slashes);
    rl_secret found = {.at = at, .end = at};

    if (is_quote(c)) {
        return string_value(scan, at + prefix, c, slashes);
    }
    c = rl_scan_at(scan, at);
    if (colon && (c == '|' || c == '>')) {
        return block_value(scan, at);
    }
    if ((c == '{' || c == '[' || (c == '(' && of->quote == '\'')) && of->quote != '\0') {
        found.end = container_end(scan, at, of);
        found.quotes = (unsigned)of->slashes + 1;
        found.quote = of->quote;
        return found;
    }
    if (is_line_end(scan, at)) {
        return found;
    }
    if (of->quote == '\0' && begins_items(scan, at)) {
        found.end = any_container_end(scan, at);
    } else if (of->quote == '\0' && !colon) {
        found = repr_value(scan, at);
    }
    if (found.end == found.at) {
        found = bare_value(scan, of, secrecy, at, colon, spaced);
    }
    if (found.end == found.at && of->quote == '\0' && colon) {
        found = default_value(scan, at);
    }
    return found;
}

/* Whether a string, an object or an array begins at a place. */
static bool begins_json(const rl_scan *scan, size_t at)
{
    const char c = rl_scan_at(scan, at + rl_scan_backslashes(scan, at));

    return is_quote(c) || c == '{' || c == '[';
}

rl_secret rl_pair_find(const rl_scan *scan, size_t sign)
{
    const bool colon = scan->text[sign] == ':';
    const char next = rl_scan_at(scan, sign + 1);
    rl_secret found = {.at = sign, .end = sign};
    size_t at = sign + 1, len = 1;
    rl_secrecy secrecy;
    name of;

    if (sign == 0 || next == scan->text[sign] ||
        (rl_is_digit(scan->text[sign - 1]) && rl_is_digit(next)) ||
        !may_be_secret(scan, sign)) {
        return found; /* ==, ::, and times */
    }
    at += (colon && next == '=') || (!colon && next == '>'); /* := and => */
    of = name_before(scan, sign);
    secrecy = judge(scan, &of);
    if (secrecy == RL_SHOWN) {
        return found;
    }
    while (colon && rl_scan_at(scan, at) == '*') { /* **Password:** ... in Markdown */
        at++;
    }
    for (sign = at; len > 0 && at - sign < 16; at += len) {
        len = space_len(scan, at, " \ttt");
    }
    if (of.quote != '\0' && line_break(scan, at) > 0) { /* JSON, on several lines */
        const size_t behind = skip_space(scan, at);

        at = begins_json(scan, behind) ? behind : at;
    }
    return value_at(scan, &of, secrecy, at, colon, at > sign);
}
