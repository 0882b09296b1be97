/* SPDX-License-Identifier: MIT */
/* hvtlfs reftime: what the reference TSC page makes of a TSC, and how far that is from the truth. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/reftime.h>

#include "text.h"

struct reftime_request {
    uint64_t tsc_hz;
    uint64_t offset; /* two's complement */
    uint64_t scale;
    bool has_scale;
};

static const char *why_no_scale(const struct reftime_request *request)
{
    return request->tsc_hz != 0 ? "rate-low" : "rate-unknown";
}

/* ---- Text and JSON ---- */

static void print_row(const struct reftime_request *request, uint64_t tsc)
{
    uint64_t exact = hvtlfs_reftime_exact(tsc, request->tsc_hz, request->offset);
    if (!request->has_scale) {
        printf("%20" PRIu64 "  %20s  %20" PRIu64 "  %5s\n", tsc, "-", exact, "-");
        return;
    }
    uint64_t time = hvtlfs_reftime_from_tsc(tsc, request->scale, request->offset);
    printf("%20" PRIu64 "  %20" PRIu64 "  %20" PRIu64 "  %5" PRIu64 "\n", tsc, time, exact,
           exact - time);
}

static void print_text(const struct reftime_request *request, size_t count, const uint64_t *tscs)
{
    printf("tsc-hz  %" PRIu64 "\n", request->tsc_hz);
    if (request->has_scale) {
        printf("scale   0x%016" PRIx64 "  (%" PRIu64 " / 2^64 units of 100 ns a tick)\n",
               request->scale, request->scale);
    } else {
        printf("scale   none  (%s: it exists above %" PRIu64 " Hz only; the page is invalid)\n",
               why_no_scale(request), HVTLFS_REFTIME_HZ);
    }
    printf("offset  %" PRId64 "\n", (int64_t)request->offset);
    if (count == 0 || request->tsc_hz == 0) {
        return;
    }
    printf("\n%20s  %20s  %20s  %5s\n", "tsc", "reference time", "exact", "error");
    for (size_t i = 0; i < count; i++) {
        print_row(request, tscs[i]);
    }
}

static void add_json_row(struct json *json, const struct reftime_request *request, uint64_t tsc)
{
    uint64_t exact = hvtlfs_reftime_exact(tsc, request->tsc_hz, request->offset);
    json_open(json, NULL, '{');
    json_wide(json, "tsc", tsc);
    if (request->has_scale) {
        uint64_t time = hvtlfs_reftime_from_tsc(tsc, request->scale, request->offset);
        json_wide(json, "reference_time", time);
        json_number(json, "error", (uint32_t)(exact - time));
    }
    if (request->tsc_hz != 0) {
        json_wide(json, "exact", exact);
    }
    json_close(json, '}');
}

static void print_json(const struct reftime_request *request, size_t count, const uint64_t *tscs)
{
    struct json json = {0};
    json_clear(&json);
    json_open(&json, NULL, '{');
    json_wide(&json, "tsc_hz", request->tsc_hz);
    json_wide(&json, "offset", request->offset);
    json_bool(&json, "valid", request->has_scale);
    if (request->has_scale) {
        json_wide(&json, "scale", request->scale);
    } else {
        json_string(&json, "reason", why_no_scale(request));
    }
    json_open(&json, "times", '[');
    for (size_t i = 0; i < count; i++) {
        add_json_row(&json, request, tscs[i]);
    }
    json_close(&json, ']');
    json_close(&json, '}');
    json_print(&json);
    text_free(&json.text);
}

/* ---- The plot: the error in units, not rounded, over the whole 64-bit TSC ---- */

#define COLUMNS 64u
#define ROWS 20u     /* of a tenth of a unit */
#define SAMPLES 400u /* in each column */

/* tsc * 10^7 / tsc_hz - page: the whole part by integers, the rest as a fraction. Below 2. */
static double error_at(const struct reftime_request *request, uint64_t tsc)
{
    uint64_t page = hvtlfs_reftime_from_tsc(tsc, request->scale, 0);
    uint64_t rest;
    uint64_t exact = hvtlfs_div_u128(hvtlfs_mul_u64_hi(tsc, HVTLFS_REFTIME_HZ),
                                     tsc * HVTLFS_REFTIME_HZ, request->tsc_hz, &rest);
    return (double)(exact - page) + (double)rest / (double)request->tsc_hz;
}

/* Scattered evenly over a column, the same in every run. */
static uint64_t sample_tsc(unsigned column, unsigned sample)
{
    uint64_t place = (uint64_t)sample * UINT64_C(0x9E3779B97F4A7C15);
    return ((uint64_t)column << 58) + (place >> 6);
}

/* What the scale loses, by the TSC alone: tsc * (exact scale - scale) / 2^64. */
static double drift_at_end(const struct reftime_request *request)
{
    uint64_t rest;
    (void)hvtlfs_div_u128(HVTLFS_REFTIME_HZ, 0, request->tsc_hz, &rest);
    return (double)rest / (double)request->tsc_hz;
}

static void plot_text(const struct reftime_request *request)
{
    unsigned hits[ROWS][COLUMNS] = {{0}};
    for (unsigned column = 0; column < COLUMNS; column++) {
        for (unsigned sample = 0; sample < SAMPLES; sample++) {
            unsigned row = (unsigned)(error_at(request, sample_tsc(column, sample)) * 10);
            hits[row < ROWS ? row : ROWS - 1][column]++;
        }
    }
    printf("error in units of 100 ns, %" PRIu64 " Hz\n", request->tsc_hz);
    for (unsigned row = ROWS; row-- > 0;) {
        printf("%3.1f |", (double)(row + 1) / 10);
        for (unsigned column = 0; column < COLUMNS; column++) {
            unsigned n = hits[row][column];
            putchar(n == 0 ? ' ' : n < SAMPLES / 20 ? '.' : n < SAMPLES / 8 ? ':' : '#');
        }
        putchar('\n');
    }
    printf("0.0 +");
    for (unsigned column = 0; column < COLUMNS; column++) {
        putchar('-');
    }
    printf("\n    tsc 0%*s\n", (int)COLUMNS - 5, "2^64");
    printf("rounding of each reading: 0 to 1; of the scale: 0 at tsc 0 to %.6f at 2^64\n",
           drift_at_end(request));
}

static void plot_svg(const struct reftime_request *request)
{
    const double width = 640, height = 320, left = 50, top = 30;
    double drift = drift_at_end(request);
    printf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 400\" "
           "font-family=\"sans-serif\" font-size=\"12\">\n"
           "<title>Error of the reference TSC page at %" PRIu64 " Hz</title>\n"
           "<rect width=\"720\" height=\"400\" fill=\"white\"/>\n"
           "<text x=\"%.0f\" y=\"20\">error in units of 100 ns, %" PRIu64 " Hz</text>\n"
           "<g fill=\"steelblue\" fill-opacity=\"0.4\">\n",
           request->tsc_hz, left, request->tsc_hz);
    for (unsigned column = 0; column < COLUMNS; column++) {
        for (unsigned sample = 0; sample < SAMPLES / 4; sample++) {
            uint64_t tsc = sample_tsc(column, sample);
            printf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1\"/>\n",
                   left + width * ((double)tsc / 18446744073709551616.0),
                   top + height * (1 - error_at(request, tsc) / 2));
        }
    }
    printf("</g>\n<path d=\"M %.1f %.1f L %.1f %.1f\" stroke=\"crimson\" stroke-width=\"2\"/>\n",
           left, top + height, left + width, top + height * (1 - drift / 2));
    printf("<path d=\"M %.1f %.1f V %.1f H %.1f\" stroke=\"black\" fill=\"none\"/>\n", left, top,
           top + height, left + width);
    for (int unit = 0; unit <= 2; unit++) {
        printf("<text x=\"30\" y=\"%.1f\">%d</text>\n", top + height * (1 - unit / 2.0) + 4, unit);
    }
    printf("<text x=\"%.0f\" y=\"370\">tsc 0</text><text x=\"%.0f\" y=\"370\">2^64</text>\n"
           "<text x=\"%.0f\" y=\"390\" fill=\"crimson\">line: what the rounded scale alone "
           "loses, %.6f at the end</text>\n</svg>\n",
           left, left + width - 20, left, drift);
}

/* ---- Arguments ---- */

static bool parse_offset(const char *word, uint64_t *offset)
{
    bool negative = word[0] == '-';
    if (!number_parse(word + negative, strlen(word + negative), offset)) {
        return false;
    }
    *offset = negative ? 0 - *offset : *offset;
    return true;
}

static int read_request(const struct tool_verb *verb, const char *tsc_hz, const char *offset,
                        struct reftime_request *request)
{
    if (tsc_hz == NULL) {
        return tool_error(verb, "--tsc-hz is needed");
    }
    if (!number_parse(tsc_hz, strlen(tsc_hz), &request->tsc_hz)) {
        return tool_error(verb, "--tsc-hz: expected a 64-bit number, got '%s'", tsc_hz);
    }
    if (offset != NULL && !parse_offset(offset, &request->offset)) {
        return tool_error(verb, "--offset: expected a 64-bit number, got '%s'", offset);
    }
    request->has_scale = hvtlfs_reftime_scale(request->tsc_hz, &request->scale) == HVTLFS_OK;
    return TOOL_OK;
}

static int show(const struct tool_verb *verb, const struct reftime_request *request, bool as_json,
                int count, char **words)
{
    struct text numbers = {0};
    for (int i = 0; i < count; i++) {
        uint64_t tsc;
        if (!number_parse(words[i], strlen(words[i]), &tsc)) {
            text_free(&numbers);
            return tool_error(verb, "expected a TSC value, a 64-bit number, got '%s'", words[i]);
        }
        text_add_bytes(&numbers, (const char *)&tsc, sizeof(tsc));
    }
    (as_json ? print_json : print_text)(request, (size_t)count,
                                        (const uint64_t *)(void *)numbers.data);
    text_free(&numbers);
    return request->has_scale ? TOOL_OK : TOOL_FAILED;
}

int verb_reftime(const struct tool_verb *verb, int argc, char **argv)
{
    bool as_json = false;
    bool plot = false;
    bool svg = false;
    const char *tsc_hz = NULL;
    const char *offset = NULL;
    int status;
    const struct tool_option options[] = {
        {"--tsc-hz", "HZ", "rate of the TSC", NULL, &tsc_hz},
        {"--offset", "N", "the page's offset, default 0; may be negative", NULL, &offset},
        {"--plot", NULL, "draw the error over the whole TSC, as text", &plot, NULL},
        {"--svg", NULL, "the same as an SVG picture", &svg, NULL},
        {"--json", NULL, "one JSON object: tsc_hz, offset, valid, scale or reason, times", &as_json,
         NULL},
    };
    struct reftime_request request = {0};
    if (!tool_options(verb, options, sizeof(options) / sizeof(options[0]), &argc, argv, &status)) {
        return status;
    }
    status = read_request(verb, tsc_hz, offset, &request);
    if (status != TOOL_OK) {
        return status;
    }
    if (!plot && !svg) {
        return show(verb, &request, as_json, argc, argv);
    }
    if (!request.has_scale) {
        fprintf(stderr, "hvtlfs reftime: no scale exists at %" PRIu64 " Hz\n", request.tsc_hz);
        return TOOL_FAILED;
    }
    (svg ? plot_svg : plot_text)(&request);
    return TOOL_OK;
}
