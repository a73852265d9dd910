/* Reads texts with core/json_read.h; tests/test_json_read.py compares the output with
 * Python's json.
 *
 * Standard input: texts, each after its length in four bytes, the lowest first. Standard
 * output: a line for each, "invalid" or the value, with strings as hexadecimal bytes and
 * doubles in the form of %a. Texts have memory of exactly their size.
 */
#include "core/json_read.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void print_string(rl_json_value value)
{
    rl_buf text;

    rl_buf_init(&text, RL_BUF_MAX);
    if (!rl_json_unescape(value, &text) ||
        (text.len > 0 && !rl_json_equals(value, text.data, text.len)) ||
        rl_json_equals(value, "no", 2) !=
            (text.len == 2 && memcmp(text.data, "no", 2) == 0)) {
        printf("!");
    }
    printf("s");
    for (size_t i = 0; i < text.len; i++) {
        printf("%02x", (unsigned)(unsigned char)text.data[i]);
    }
    rl_buf_free(&text);
}

static void print(rl_json_value value)
{
    const rl_json_kind kind = rl_json_kind_of(value);
    rl_json_reader reader;
    rl_json_value key, member;
    double number = 0;

    if (kind == RL_JSON_STRING) {
        print_string(value);
    } else if (kind == RL_JSON_NUMBER) {
        bool read = rl_json_number(value, &number);

        printf("%s%a", read ? "" : "!", number);
    } else if (kind == RL_JSON_OBJECT || kind == RL_JSON_ARRAY) {
        printf(kind == RL_JSON_OBJECT ? "{" : "[");
        rl_json_enter(&reader, value);
        while (rl_json_next(&reader, &key, &member)) {
            if (kind == RL_JSON_OBJECT) {
                print_string(key);
                printf(":");
            }
            print(member);
            printf(",");
        }
        printf("%s%s", reader.failed ? "!" : "", kind == RL_JSON_OBJECT ? "}" : "]");
    } else {
        printf("%s", kind == RL_JSON_NULL    ? "null"
                     : kind == RL_JSON_TRUE  ? "true"
                     : kind == RL_JSON_FALSE ? "false"
                                             : "!");
    }
}

int main(void)
{
    unsigned char head[4];

    while (fread(head, 1, 4, stdin) == 4) {
        size_t len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        char *text = calloc(1, len);
        rl_json_value value;

        if (fread(text, 1, len, stdin) != len) {
            free(text);
            return 1;
        }
        if (rl_json_read(text, len, &value)) {
            print(value);
            printf("\n");
        } else {
            printf("invalid\n");
        }
        fflush(stdout);
        free(text);
    }
    return 0;
}
