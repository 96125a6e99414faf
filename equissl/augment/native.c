/* The common augmentations on one image at a time, for the CPU. The torch operations of this package are
 * the reference; this file repeats their arithmetic in an order that keeps an image in the cache from its
 * 8-bit source to the finished view. Built and called by native.py. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CROP = 0, HORIZONTAL_FLIP, VERTICAL_FLIP, JITTER, GRAYSCALE, SOLARIZE, INVERT, BLUR, NORMALIZE };
enum { UINT8 = 0, FLOAT32, BFLOAT16 };

typedef struct {
    int32_t kind;
    int32_t columns;
    int32_t ints[2];        /* constants of the step: sizes, which filter */
    float floats[8];        /* constants of the step: threshold, mean and std */
    const float *values;    /* (images, columns) */
} step_t;

typedef struct {
    int64_t channels, height, width;
    float *pixels;          /* planar */
} image_t;

typedef struct {
    float *spare, *row, *weight;
    int32_t *index;
    int64_t taps;           /* room per pixel in weight */
} scratch_t;

/* Eight or four numbers at once; loads and stores need no alignment. */
typedef float float8 __attribute__((vector_size(32), aligned(4)));
typedef float float4 __attribute__((vector_size(16), aligned(4)));
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t int4 __attribute__((vector_size(16)));
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (int4){i, j, k, l})
#endif

static inline float clamp01(float x) { return x < 0.0f ? 0.0f : (x > 1.0f ? 1.0f : x); }

/* ---- resampling -------------------------------------------------------------------------------- */

static float filter_value(float d, int cubic) {
    d = fabsf(d);
    if (!cubic) return d < 1.0f ? 1.0f - d : 0.0f;
    if (d < 1.0f) return (1.5f * d - 2.5f) * d * d + 1.0f;
    return d < 2.0f ? ((-0.5f * d + 2.5f) * d - 4.0f) * d + 2.0f : 0.0f;
}

static float snap(float x) {
    float whole = rintf(x);
    return fabsf(x - whole) < 1e-3f ? whole : x;
}

/* First pixel and weights of every result along one side; returns how many taps each has. */
static int64_t resample_weights(float start, float length, int64_t pixels, int64_t size, int cubic,
                       int32_t *first, float *weight, int64_t room) {
    int radius = cubic ? 2 : 1;
    start = snap(start * (float)pixels);
    length = snap(length * (float)pixels);
    float scale = length / (float)size, stretch = scale > 1.0f ? scale : 1.0f;
    int64_t count = (int64_t)ceilf(2.0f * radius * stretch);
    if (count > room) count = room;
    if (count > pixels) count = pixels;
    for (int64_t o = 0; o < size; o++) {
        float center = scale * ((float)o + 0.5f), sum = 0.0f, *w = weight + o * count;
        float from = floorf(start + center - radius * stretch + 0.5f);
        /* A window that stays within the image; taps outside the box weigh nothing. */
        float lowest = from > 0.0f ? from : 0.0f;
        if (lowest > (float)(pixels - count)) lowest = (float)(pixels - count);
        for (int64_t k = 0; k < count; k++) {
            float p = lowest + (float)k;
            float end = p + 1.0f < start + length ? p + 1.0f : start + length;
            float cover = clamp01(end - (p > start ? p : start));
            w[k] = filter_value((p - start - center + 0.5f) / stretch, cubic) * cover;
            sum += w[k];
        }
        for (int64_t k = 0; k < count; k++) w[k] /= sum;
        first[o] = (int32_t)lowest;
    }
    return count;
}

#define ROWS(TYPE, NAME)                                                                               \
    static void NAME(const TYPE *src, int64_t width, int64_t from, int64_t to, const float *w,          \
                     int64_t taps, float *out) {                                                        \
        const TYPE *a = src;                                                                            \
        if (taps == 2) {                                                                                \
            for (int64_t x = from; x < to; x++) out[x] = w[0] * a[x] + w[1] * a[x + width];             \
        } else if (taps == 3) {                                                                         \
            for (int64_t x = from; x < to; x++)                                                         \
                out[x] = w[0] * a[x] + w[1] * a[x + width] + w[2] * a[x + 2 * width];                   \
        } else {                                                                                        \
            for (int64_t x = from; x < to; x++) out[x] = w[0] * a[x];                                   \
            for (int64_t k = 1; k < taps; k++) {                                                        \
                if (w[k] == 0.0f) continue;                                                             \
                const TYPE *b = src + k * width;                                                        \
                for (int64_t x = from; x < to; x++) out[x] += w[k] * b[x];                              \
            }                                                                                           \
        }                                                                                               \
    }
ROWS(uint8_t, rows_uint8)
ROWS(float, rows_float32)

static inline void transpose(float4 *a) {
    float4 p = SHUFFLE(a[0], a[1], 0, 4, 1, 5), q = SHUFFLE(a[2], a[3], 0, 4, 1, 5);
    float4 r = SHUFFLE(a[0], a[1], 2, 6, 3, 7), s = SHUFFLE(a[2], a[3], 2, 6, 3, 7);
    a[0] = SHUFFLE(p, q, 0, 1, 4, 5), a[1] = SHUFFLE(p, q, 2, 3, 6, 7);
    a[2] = SHUFFLE(r, s, 0, 1, 4, 5), a[3] = SHUFFLE(r, s, 2, 3, 6, 7);
}

/* Four rows of w numbers -> (x, 4), for x in [from, to). */
static void interleave(const float *rows, int64_t w, int64_t from, int64_t to, float *mixed) {
    int64_t x = from;
    for (; x + 4 <= to; x += 4) {
        float4 a[4];
        for (int r = 0; r < 4; r++) a[r] = *(const float4 *)(rows + r * w + x);
        transpose(a);
        for (int r = 0; r < 4; r++) *(float4 *)(mixed + 4 * (x + r)) = a[r];
    }
    for (; x < to; x++)
        for (int r = 0; r < 4; r++) mixed[4 * x + r] = rows[r * w + x];
}

static void filter_columns(const float *mixed, const int32_t *first, const float *weight, int64_t taps,
                    int64_t size, float *out) {
    for (int64_t o = 0; o < size; o++, weight += taps) {
        const float4 *a = (const float4 *)(mixed + 4 * (int64_t)first[o]);
        float4 sum = weight[0] * a[0];
        for (int64_t k = 1; k < taps; k++) sum += weight[k] * a[k];
        *(float4 *)(out + 4 * o) = sum;
    }
}

/* (size, 4) -> up to four rows. */
static void deinterleave(const float *mixed, int64_t size, float *out, int64_t rows) {
    int64_t x = 0;
    for (; x + 4 <= size; x += 4) {
        float4 a[4];
        for (int r = 0; r < 4; r++) a[r] = *(const float4 *)(mixed + 4 * (x + r));
        transpose(a);
        for (int64_t r = 0; r < rows; r++) *(float4 *)(out + r * size + x) = a[r];
    }
    for (; x < size; x++)
        for (int64_t r = 0; r < rows; r++) out[r * size + x] = mixed[4 * x + r];
}

static void crop(const void *source, int kind, image_t *p, const step_t *s, const float *box,
                 scratch_t *scratch) {
    int64_t size = s->ints[0], h = p->height, w = p->width;
    int cubic = s->ints[1];
    int32_t *fy = scratch->index, *fx = fy + size;
    float *wy = scratch->weight, *wx = wy + size * scratch->taps, *line = scratch->row;
    int64_t ny = resample_weights(box[0], box[2], h, size, cubic, fy, wy, scratch->taps);
    int64_t nx = resample_weights(box[1], box[3], w, size, cubic, fx, wx, scratch->taps);
    int64_t from = fx[0], to = fx[size - 1] + nx;
    float level = kind == UINT8 ? 1.0f / 255.0f : 1.0f;
    for (int64_t i = 0; i < size * ny; i++) wy[i] *= level;
    float *result = scratch->spare, *mixed = line + 4 * (w > size ? w : size);
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t y = 0; y < size; y += 4) {   /* four rows side by side, so that one load serves all */
            int64_t rows = size - y < 4 ? size - y : 4;
            for (int64_t r = 0; r < 4; r++) {
                int64_t row = y + (r < rows ? r : rows - 1), at = (c * h + fy[row]) * w;
                const float *weight = wy + row * ny;
                if (kind == UINT8) rows_uint8((const uint8_t *)source + at, w, from, to, weight, ny, line + r * w);
                else rows_float32((const float *)source + at, w, from, to, weight, ny, line + r * w);
            }
            interleave(line, w, from, to, mixed);
            filter_columns(mixed, fx, wx, nx, size, line);
            deinterleave(line, size, result + (c * size + y) * size, rows);
        }
    scratch->spare = p->pixels;
    p->pixels = result;
    p->height = p->width = size;
}

/* ---- rearrangements ---------------------------------------------------------------------------- */

static void horizontal_flip(image_t *p, scratch_t *scratch) {
    int64_t w = p->width;
    for (int64_t y = 0; y < p->channels * p->height; y++) {
        float *line = p->pixels + y * w, *copy = scratch->row;
        memcpy(copy, line, w * sizeof(float));
        for (int64_t x = 0; x < w; x++) line[x] = copy[w - 1 - x];
    }
}

static void vertical_flip(image_t *p, scratch_t *scratch) {
    int64_t w = p->width, h = p->height, bytes = w * sizeof(float);
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t y = 0; y < h / 2; y++) {
            float *a = p->pixels + (c * h + y) * w, *b = p->pixels + (c * h + h - 1 - y) * w;
            memcpy(scratch->row, a, bytes);
            memcpy(a, b, bytes);
            memcpy(b, scratch->row, bytes);
        }
}

/* ---- color ------------------------------------------------------------------------------------- */

#define LUMA(r, g, b) (0.2989f * (r) + 0.587f * (g) + 0.114f * (b))

static void brightness(float *x, int64_t n, float f) {
    for (int64_t i = 0; i < 3 * n; i++) x[i] = clamp01(x[i] * f);
}

static void contrast(float *x, int64_t n, float f) {
    float *r = x, *g = x + n, *b = x + 2 * n;
    double sum = 0.0;
    int64_t i = 0;
    while (i + 16 <= n) {   /* sixteen sums at once, and short ones: long ones in single precision drift */
        float lane[16] = {0};
        int64_t end = i + 1024 < n ? i + 1024 : n;
        for (; i + 16 <= end; i += 16)
            for (int k = 0; k < 16; k++) lane[k] += LUMA(r[i + k], g[i + k], b[i + k]);
        for (int k = 0; k < 16; k++) sum += lane[k];
    }
    for (; i < n; i++) sum += LUMA(r[i], g[i], b[i]);
    float level = (1.0f - f) * (float)(sum / (double)n);
    for (i = 0; i < 3 * n; i++) x[i] = clamp01(x[i] * f + level);
}

static void saturation(float *x, int64_t n, float f) {
    float *restrict r = x, *restrict g = x + n, *restrict b = x + 2 * n;
    for (int64_t i = 0; i < n; i++) {
        float gray = LUMA(r[i], g[i], b[i]) * (1.0f - f);
        r[i] = clamp01(r[i] * f + gray);
        g[i] = clamp01(g[i] * f + gray);
        b[i] = clamp01(b[i] * f + gray);
    }
}

static void hue(float *x, int64_t n, float turns) {
    float *restrict r = x, *restrict g = x + n, *restrict b = x + 2 * n;
    float shift = 6.0f * turns;
    for (int64_t i = 0; i < n; i++) {
        float red = r[i], green = g[i], blue = b[i];
        float high = red > green ? red : green, low = red > green ? green : red;
        high = high > blue ? high : blue;
        low = low > blue ? blue : low;
        float chroma = high - low, inverse = 1.0f / (chroma > 0.0f ? chroma : 1.0f);
        float angle = high == red ? (green - blue) * inverse
                    : high == green ? 2.0f + (blue - red) * inverse
                                    : 4.0f + (red - green) * inverse;
        angle += shift;
        angle -= 6.0f * floorf(angle * (1.0f / 6.0f));
        float to_red = clamp01(fabsf(angle - 3.0f) - 1.0f);
        float to_green = clamp01(2.0f - fabsf(angle - 2.0f));
        float to_blue = clamp01(2.0f - fabsf(angle - 4.0f));
        r[i] = to_red >= 1.0f ? high : clamp01(low + chroma * to_red);
        g[i] = to_green >= 1.0f ? high : clamp01(low + chroma * to_green);
        b[i] = to_blue >= 1.0f ? high : clamp01(low + chroma * to_blue);
    }
}

/* values: brightness, contrast, saturation, hue, then which of them runs k-th. */
static void jitter(image_t *p, const float *v) {
    int64_t n = p->height * p->width;
    for (int k = 0; k < 4; k++) {
        int which = (int)rintf(v[4 + k]);
        float f = v[which & 3];
        if (f == (which == 3 ? 0.0f : 1.0f)) continue;
        switch (which) {
            case 0: brightness(p->pixels, n, f); break;
            case 1: contrast(p->pixels, n, f); break;
            case 2: saturation(p->pixels, n, f); break;
            case 3: hue(p->pixels, n, f); break;
        }
    }
}

static void grayscale(image_t *p) {
    int64_t n = p->height * p->width;
    float *restrict r = p->pixels, *restrict g = r + n, *restrict b = g + n;
    for (int64_t i = 0; i < n; i++) r[i] = g[i] = b[i] = LUMA(r[i], g[i], b[i]);
}

static void solarize(image_t *p, float threshold) {
    int64_t n = p->channels * p->height * p->width;
    float *x = p->pixels;
    for (int64_t i = 0; i < n; i++) x[i] = x[i] >= threshold ? 1.0f - x[i] : x[i];
}

static void invert(image_t *p) {
    int64_t n = p->channels * p->height * p->width;
    for (int64_t i = 0; i < n; i++) p->pixels[i] = 1.0f - p->pixels[i];
}

/* ---- blur -------------------------------------------------------------------------------------- */

static inline int64_t reflected(int64_t i, int64_t n) {
    if (n == 1) return 0;
    int64_t period = 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

/* e^x for x <= 0, in double precision; expf differs between C libraries, and between processors in one. */
static float exponential(double x) {
    if (x < -700.0) return 0.0f;
    double power = rint(x * 1.4426950408889634), rest = x - power * 0.6931471805599453, sum = 1.0;
    for (int k = 13; k > 0; k--) sum = 1.0 + sum * rest / k;   /* Taylor's, |rest| <= 0.35 */
    uint64_t bits = (uint64_t)(1023 + (int64_t)power) << 52;
    double scale;
    memcpy(&scale, &bits, 8);
    return (float)(sum * scale);
}

static void blur(image_t *p, int64_t kernel, float sigma, scratch_t *scratch) {
    int64_t h = p->height, w = p->width, radius = kernel / 2, last = 0;
    float *weight = scratch->weight, sum = 0.0f;
    if (sigma < 1e-3f) sigma = 1e-3f;
    for (int64_t k = 0; k <= radius; k++) {
        float z = (float)k / sigma;
        weight[k] = exponential(-0.5 * z * z);
        sum += k ? 2.0f * weight[k] : weight[k];
    }
    for (int64_t k = 0; k <= radius; k++) {
        weight[k] /= sum;
        if (weight[k] >= 1e-12f) last = k;
    }
    float *line = scratch->row + last, *restrict middle = scratch->spare;
    for (int64_t c = 0; c < p->channels; c++) {
        const float *plane = p->pixels + c * h * w;
        for (int64_t y = 0; y < h; y++) {
            memcpy(line, plane + y * w, w * sizeof(float));
            for (int64_t k = 1; k <= last; k++) {
                line[-k] = plane[y * w + reflected(-k, w)];
                line[w - 1 + k] = plane[y * w + reflected(w - 1 + k, w)];
            }
            float *restrict out = middle + y * w;
            int64_t x = 0;
            for (; x + 32 <= w; x += 32) {   /* thirty-two results stay in registers over all taps */
                const float8 *at = (const float8 *)(line + x);
                float8 a = weight[0] * at[0], b = weight[0] * at[1], d = weight[0] * at[2], e = weight[0] * at[3];
                for (int64_t k = 1; k <= last; k++) {
                    const float8 *l = (const float8 *)(line + x - k), *r = (const float8 *)(line + x + k);
                    a += weight[k] * (l[0] + r[0]), b += weight[k] * (l[1] + r[1]);
                    d += weight[k] * (l[2] + r[2]), e += weight[k] * (l[3] + r[3]);
                }
                float8 *to = (float8 *)(out + x);
                to[0] = a, to[1] = b, to[2] = d, to[3] = e;
            }
            for (; x < w; x++) {
                float sum = weight[0] * line[x];
                for (int64_t k = 1; k <= last; k++) sum += weight[k] * (line[x - k] + line[x + k]);
                out[x] = sum;
            }
        }
        float *target = p->pixels + c * h * w;
        for (int64_t y = 0; y < h; y++) {
            float *restrict out = target + y * w;
            int32_t *above = scratch->index, *below = above + last + 1;
            for (int64_t k = 1; k <= last; k++) {
                above[k] = (int32_t)(reflected(y - k, h) * w);
                below[k] = (int32_t)(reflected(y + k, h) * w);
            }
            int64_t x = 0;
            for (; x + 32 <= w; x += 32) {
                const float8 *at = (const float8 *)(middle + y * w + x);
                float8 a = weight[0] * at[0], b = weight[0] * at[1], d = weight[0] * at[2], e = weight[0] * at[3];
                for (int64_t k = 1; k <= last; k++) {
                    const float8 *l = (const float8 *)(middle + above[k] + x), *r = (const float8 *)(middle + below[k] + x);
                    a += weight[k] * (l[0] + r[0]), b += weight[k] * (l[1] + r[1]);
                    d += weight[k] * (l[2] + r[2]), e += weight[k] * (l[3] + r[3]);
                }
                float8 *to = (float8 *)(out + x);
                to[0] = a, to[1] = b, to[2] = d, to[3] = e;
            }
            for (; x < w; x++) {
                float sum = weight[0] * middle[y * w + x];
                for (int64_t k = 1; k <= last; k++)
                    sum += weight[k] * (middle[above[k] + x] + middle[below[k] + x]);
                out[x] = sum;
            }
        }
    }
}

/* ---- one image from source to view ------------------------------------------------------------ */

static void normalize(image_t *p, const step_t *s) {
    int64_t n = p->height * p->width;
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < n; i++)
            p->pixels[c * n + i] = (p->pixels[c * n + i] - s->floats[c]) / s->floats[4 + c];
}

static void load(const void *source, int kind, image_t *p) {
    int64_t n = p->channels * p->height * p->width;
    const uint8_t *bytes = source;
    if (kind == UINT8) for (int64_t i = 0; i < n; i++) p->pixels[i] = (float)bytes[i] / 255.0f;
    else memcpy(p->pixels, source, n * sizeof(float));
}

static inline uint16_t to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

static void store(const image_t *p, void *target, int kind, int channels_last) {
    int64_t n = p->height * p->width, c = p->channels;
    float *single = target;
    uint16_t *half = target;
    for (int64_t k = 0; k < c; k++) {
        const float *plane = p->pixels + k * n;
        int64_t step = channels_last ? c : 1, at = channels_last ? k : k * n;
        if (kind == FLOAT32 && step == 1) memcpy(single + at, plane, n * sizeof(float));
        else if (kind == FLOAT32) for (int64_t i = 0; i < n; i++) single[at + i * step] = plane[i];
        else for (int64_t i = 0; i < n; i++) half[at + i * step] = to_bfloat16(plane[i]);
    }
}

/* Images [from, to) of a batch, each through all steps. Returns 0, or 1 if there was no memory. */
int equissl_apply(const void *sources, int32_t source_kind, int64_t channels, int64_t height, int64_t width,
                  const step_t *steps, int32_t count, void *targets, int32_t target_kind, int32_t channels_last,
                  int64_t pixels, int64_t side, int64_t taps, int64_t images, int64_t block, int32_t parts, int32_t own, int64_t *next) {
    /* pixels: the most that an image has on its way; side: its longest side; taps: of the widest filter;
     * block: images taken at a time; next: the first of each part of the images that no thread has taken.
     * A thread begins with a part of its own, since two that write to the same page of a new target both
     * clear it, and goes on with what is left of the others'. */
    scratch_t empty = {0};
    float *first = malloc(pixels * sizeof(float)), *second = malloc(pixels * sizeof(float));
    float *row = malloc((8 * side + 2 * taps + 64) * sizeof(float));
    float *weight = malloc((2 * side * taps + taps + 64) * sizeof(float));
    int32_t *index = malloc((2 * side + 2 * taps + 64) * sizeof(int32_t));
    int out_of_memory = !(first && second && row && weight && index);
    int64_t i = 0, end = 0;
    for (int32_t finished = 0; !out_of_memory;) {
        while (i == end && finished < parts) {
            int32_t part = (own + finished) % parts;
            int64_t last = images * (part + 1) / parts;
            i = __atomic_fetch_add(next + part, block, __ATOMIC_RELAXED);
            end = i + block < last ? i + block : last;
            if (i >= last) i = end = 0, finished++;
        }
        if (i == end) break;
        int64_t bytes = channels * height * width * (source_kind == UINT8 ? 1 : 4);
        const char *source = (const char *)sources + i * bytes;
        image_t p = {channels, height, width, first};
        scratch_t scratch = empty;
        scratch.spare = second, scratch.row = row, scratch.weight = weight;
        scratch.index = index, scratch.taps = taps;
        int reads_source = count > 0 && steps[0].kind == CROP;   /* a crop reads the source itself */
        if (!reads_source) load(source, source_kind, &p);
        for (int32_t k = 0; k < count; k++) {
            const step_t *s = steps + k;
            const float *v = s->values + i * s->columns;
            switch (s->kind) {
                case CROP:
                    if (k == 0) crop(source, source_kind, &p, s, v, &scratch);
                    else crop(p.pixels, FLOAT32, &p, s, v, &scratch);
                    break;
                case HORIZONTAL_FLIP: if (v[0] > 0.5f) horizontal_flip(&p, &scratch); break;
                case VERTICAL_FLIP: if (v[0] > 0.5f) vertical_flip(&p, &scratch); break;
                case JITTER: jitter(&p, v); break;
                case GRAYSCALE: if (v[0] > 0.5f) grayscale(&p); break;
                case SOLARIZE: if (v[0] > 0.5f) solarize(&p, s->floats[0]); break;
                case INVERT: if (v[0] > 0.5f) invert(&p); break;
                case BLUR: if (v[0] > 0.0f) blur(&p, s->ints[0], v[0], &scratch); break;
                case NORMALIZE: normalize(&p, s); break;
            }
        }
        int64_t numel = p.channels * p.height * p.width;
        store(&p, (char *)targets + i * numel * (target_kind == BFLOAT16 ? 2 : 4), target_kind, channels_last);
        i++;
    }
    free(first), free(second), free(row), free(weight), free(index);
    return out_of_memory;
}
