// What a plain C loop makes of this machine: AdamW over the parameters of GPT-2 124M, and the bandwidth of memory.
// Speaks the workers' protocol: says what it is, then answers each line "COUNT CASE" with COUNT times in milliseconds.
// Cases: gpt2 (AdamW), copy (400 MB read, 400 MB written), update (400 MB read and written in place), bytes-N (N bytes, half of
// them read and half written in place, in passes over 1.5 GB of memory), passes-R.U.W:N,... (passes over N elements, each of which reads R
// arrays, updates U in place and writes W).
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { parameters = 124439808 };
enum { copied = 100000000 };

// On huge pages where the system has them, and touched by the thread that will work on it.
static float *block(size_t count, float value) {
    size_t huge = (size_t)2 << 20, bytes = (count * sizeof(float) + huge - 1) / huge * huge;
    float *memory = aligned_alloc(huge, bytes);
    if (!memory) { perror("adamw"); exit(1); }
    madvise(memory, bytes, MADV_HUGEPAGE);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        memory[i] = value;
    return memory;
}

static void adamw(float *restrict parameter, const float *restrict gradient, float *restrict m, float *restrict v, int step) {
    const float beta1 = 0.9f, beta2 = 0.999f, rate = 1e-4f, epsilon = 1e-8f, keep = 1 - rate * 0.1f;
    const float size = rate / (1 - powf(beta1, step)), root = 1 / sqrtf(1 - powf(beta2, step));
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < parameters; i++) {
        float g = gradient[i];
        float mean = beta1 * m[i] + (1 - beta1) * g;
        float square = beta2 * v[i] + (1 - beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        parameter[i] = keep * parameter[i] - size * mean / (sqrtf(square) * root + epsilon);
    }
}

static void copy(float *restrict target, const float *restrict source) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < copied; i++)
        target[i] = source[i];
}

static void update(float *memory, size_t count) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        memory[i] = memory[i] * 0.999f + 1e-3f;
}

// Passes over the blocks in turn, so that no pass finds its memory in a cache.
static void move(float *const *blocks, size_t count) {
    for (int k = 0; count > 0; k = (k + 1) % 3) {
        size_t part = count < parameters ? count : parameters;
        update(blocks[k], part);
        count -= part;
    }
}

enum { arrays = 6 };

// A pass over some of the arrays: the first R are read, the next U updated, the next W written. A function for each kind, because the numbers must be
// constants within the parallel region, which the compiler makes a function of its own.
#define AT(k) ((k) == 0 ? x : (k) == 1 ? y : (k) == 2 ? z : (k) == 3 ? p : (k) == 4 ? q : r)[i]
#define PASS(R, U, W)                                                                                                                  \
    static float pass_##R##U##W(float *const *a, size_t count) {                                                                       \
        float *restrict x = a[0], *restrict y = a[1], *restrict z = a[2], *restrict p = a[3], *restrict q = a[4], *restrict r = a[5]; \
        float sum = 0;                                                                                                                 \
        _Pragma("omp parallel for simd schedule(static) reduction(+ : sum)")                                                           \
        for (size_t i = 0; i < count; i++) {                                                                                           \
            float value = 1e-3f;                                                                                                       \
            if (R > 0) value += AT(0) * AT(0);                                                                                         \
            if (R > 1) value += AT(1);                                                                                                 \
            if (R > 2) value += AT(2);                                                                                                 \
            if (R > 3) value += AT(3);                                                                                                 \
            if (U > 0) AT(R) = AT(R) * 0.999f + value;                                                                                 \
            if (U > 1) AT(R + 1) = AT(R + 1) * 0.999f + value;                                                                         \
            if (U > 2) AT(R + 2) = AT(R + 2) * 0.999f + value;                                                                         \
            if (U > 3) AT(R + 3) = AT(R + 3) * 0.999f + value;                                                                         \
            if (W > 0) AT(R + U) = value;                                                                                              \
            if (W > 1) AT(R + U + 1) = value + value;                                                                                  \
            if (W > 2) AT(R + U + 2) = value + 1;                                                                                      \
            if (U + W == 0) sum += value;                                                                                              \
        }                                                                                                                              \
        return sum;                                                                                                                    \
    }
#define READS(U, W) PASS(0, U, W) PASS(1, U, W) PASS(2, U, W) PASS(3, U, W)
#define ALL READS(1, 0) READS(2, 0) READS(3, 0) READS(0, 1) READS(1, 1) READS(2, 1) PASS(1, 0, 0) PASS(2, 0, 0) PASS(3, 0, 0) PASS(4, 0, 0) PASS(4, 1, 0) PASS(4, 0, 1) PASS(1, 4, 0) PASS(2, 4, 0) PASS(1, 2, 3)
ALL
#undef PASS

// Each kind of pass in its turn; the arrays are longer than a cache, and a pass begins where the one before ended.
static int passes(float *const *blocks, const char *list) {
    static float sink;
    size_t start = 0;
    int reads, updates, writes, length;
    unsigned long long elements;
    while (sscanf(list, "%d.%d.%d:%llu%n", &reads, &updates, &writes, &elements, &length) == 4) {
        while (elements > 0) {
            if (start == parameters) start = 0;
            size_t part = elements < parameters - start ? elements : parameters - start;
            float *at[arrays];
            for (int k = 0; k < arrays; k++) at[k] = blocks[k] + start;
            switch (reads * 100 + updates * 10 + writes) {
#define PASS(R, U, W) case R * 100 + U * 10 + W: sink += pass_##R##U##W(at, part); break;
            ALL
            default: fprintf(stderr, "adamw: no pass %d.%d.%d\n", reads, updates, writes); return 0;
            }
            elements -= part;
            start += part;
        }
        list += length;
        if (*list == ',') list++;
    }
    return *list == 0;
}

int main(void) {
    float *parameter = block(parameters, 0.02f), *gradient = block(parameters, 1e-3f), *m = block(parameters, 0), *v = block(parameters, 0);
    float *const blocks[arrays] = {parameter, m, v, gradient, block(parameters, 0), block(parameters, 0)};
    printf("gcc %s, -O3 -march=native -fno-math-errno -fopenmp, %d threads, huge pages where the system allows\n", __VERSION__, omp_get_max_threads());
    fflush(stdout);
    int count, step = 0;
    char name[1024];
    while (scanf("%d %1023s", &count, name) == 2) {
        for (int i = -1; i < count; i++) { // the first one warms up
            double start = omp_get_wtime();
            if (!strcmp(name, "copy")) copy(m, gradient);
            else if (!strcmp(name, "update")) update(m, copied);
            else if (!strncmp(name, "bytes-", 6)) move(blocks, strtoull(name + 6, NULL, 10) / (2 * sizeof(float)));
            else if (!strncmp(name, "passes-", 7)) { if (!passes(blocks, name + 7)) return 1; }
            else if (!strcmp(name, "gpt2")) adamw(parameter, gradient, m, v, ++step);
            else { fprintf(stderr, "adamw: no case %s\n", name); return 1; }
            double elapsed = (omp_get_wtime() - start) * 1e3;
            if (i >= 0)
                printf(i + 1 < count ? "%.6f " : "%.6f\n", elapsed);
        }
        fflush(stdout);
    }
}
