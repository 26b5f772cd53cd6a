/* A stand-in for libnvidia-ml.so.1 that answers from a table: REPRO_TEST_NVML names the file.

   Lines are of fields with tabs between them: see machines.py, which writes them. Functions and structures are as
   nvml.h declares them: https://docs.nvidia.com/deploy/nvml-api/. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6 };

typedef struct device {
    char name[96], uuid[96];
    unsigned long long memory;
    int major, minor, brand, ecc, error, parent;
} device_t;

typedef struct { unsigned long long total, free, used; } memory_t;

static device_t gpus[64], instances[64];
static int gpu_count, instance_count, init_code, cuda, peer = -1, nvlink = -1;
static char driver[80];

static void read_device(char **fields, device_t *device, int parent) {
    snprintf(device->name, sizeof device->name, "%s", fields[1]);
    snprintf(device->uuid, sizeof device->uuid, "%s", fields[2]);
    device->memory = strtoull(fields[3], NULL, 10);
    device->major = atoi(fields[4]);
    device->minor = atoi(fields[5]);
    device->brand = atoi(fields[6]);
    device->ecc = atoi(fields[7]);
    device->error = atoi(fields[8]);
    device->parent = parent;
}

static void read_line(char *line) {
    char *fields[10] = {0};
    int count = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *field = strtok(line, "\t"); field && count < 10; field = strtok(NULL, "\t")) fields[count++] = field;
    if (!count) return;
    if (!strcmp(fields[0], "init")) init_code = atoi(fields[1]);
    if (!strcmp(fields[0], "driver")) snprintf(driver, sizeof driver, "%s", fields[1]);
    if (!strcmp(fields[0], "cuda")) cuda = atoi(fields[1]);
    if (!strcmp(fields[0], "links")) { peer = atoi(fields[1]); nvlink = atoi(fields[2]); }
    if (!strcmp(fields[0], "gpu")) read_device(fields, &gpus[gpu_count++], -1);
    if (!strcmp(fields[0], "mig")) read_device(fields, &instances[instance_count++], gpu_count - 1);
}

static int read_table(void) {
    const char *path = getenv("REPRO_TEST_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    if (!file) return 999;
    gpu_count = instance_count = 0;
    while (fgets(line, sizeof line, file)) read_line(line);
    fclose(file);
    return init_code;
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return read_table(); }
int nvmlInit_v2(void) { return read_table(); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case 4: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "%s", driver);
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = (unsigned int)gpu_count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device_t **device) {
    if (index >= (unsigned int)gpu_count) return INVALID;
    *device = &gpus[index];
    return gpus[index].error;
}

int nvmlDeviceGetName(device_t *device, char *name, unsigned int length) {
    snprintf(name, length, "%s", device->name);
    return device->error;
}

int nvmlDeviceGetUUID(device_t *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "%s", device->uuid);
    return device->error;
}

int nvmlDeviceGetBrand(device_t *device, int *brand) { *brand = device->brand; return device->error; }

int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
    *major = device->major;
    *minor = device->minor;
    return device->error;
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *memory) {
    memory->total = memory->free = device->memory;
    memory->used = 0;
    return device->error;
}

int nvmlDeviceGetEccMode(device_t *device, int *current, int *pending) {
    if (device->ecc < 0) return UNSUPPORTED;
    *current = *pending = device->ecc;
    return device->error;
}

static int instances_of(device_t *device) {
    int count = 0;
    for (int i = 0; i < instance_count; i++) count += &gpus[instances[i].parent] == device;
    return count;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned int *current, unsigned int *pending) {
    if (device->major < 8) return UNSUPPORTED;
    *current = *pending = instances_of(device) > 0;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t *device, unsigned int *count) {
    (void)device;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t *device, unsigned int index, device_t **instance) {
    for (int i = 0; i < instance_count; i++)
        if (&gpus[instances[i].parent] == device && index-- == 0) {
            *instance = &instances[i];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetP2PStatus(device_t *one, device_t *other, int kind, int *status) {
    int answer = kind == 2 ? nvlink : peer;
    (void)one;
    (void)other;
    if (answer < 0) return UNSUPPORTED;
    *status = answer ? 0 : 5;
    return SUCCESS;
}
