// What a plain C loop makes of this machine: AdamW over the parameters of GPT-2 124M, and the bandwidth of memory.
// Speaks the workers' protocol: says what it is, then answers each line "COUNT CASE" with COUNT times in milliseconds.
// Cases: gpt2 (AdamW), copy (400 MB read, 400 MB written), update (400 MB read and written in place), bytes-N (N bytes, half of
// them read and half written in place, in passes over 1.5 GB of memory).
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

int main(void) {
    float *parameter = block(parameters, 0.02f), *gradient = block(parameters, 1e-3f), *m = block(parameters, 0), *v = block(parameters, 0);
    float *const blocks[] = {parameter, m, v};
    printf("gcc %s, -O3 -march=native -fno-math-errno -fopenmp, %d threads, huge pages where the system allows\n", __VERSION__, omp_get_max_threads());
    fflush(stdout);
    int count, step = 0;
    char name[32];
    while (scanf("%d %31s", &count, name) == 2) {
        for (int i = -1; i < count; i++) { // the first one warms up
            double start = omp_get_wtime();
            if (!strcmp(name, "copy")) copy(m, gradient);
            else if (!strcmp(name, "update")) update(m, copied);
            else if (!strncmp(name, "bytes-", 6)) move(blocks, strtoull(name + 6, NULL, 10) / (2 * sizeof(float)));
            else if (!strcmp(name, "gpt2")) adamw(parameter, gradient, m, v, ++step);
            else { fprintf(stderr, "adamw: no case %s\n", name); return 1; }
            double elapsed = (omp_get_wtime() - start) * 1e3;
            if (i >= 0)
                printf(i + 1 < count ? "%.6f " : "%.6f\n", elapsed);
        }
        fflush(stdout);
    }
}
