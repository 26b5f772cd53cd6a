/* A stand-in for libnvidia-ml.so.1 that answers from a table: REPRO_TEST_NVML names the file.

   Lines are of fields with tabs between them: see machines.py, which writes them. Functions and structures are as
   nvml.h declares them: https://docs.nvidia.com/deploy/nvml-api/.

   Built with TABLE it holds that text instead of reading a file, and shows, as the driver does, only those GPUs whose
   device nodes are there, and those MIG instances whose capabilities are. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6 };

typedef struct device {
    char name[96], uuid[96];
    unsigned long long memory;
    int major, minor, brand, ecc, error, mig, parent, number;
} device_t;

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

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
    device->mig = atoi(fields[9]);
    device->parent = parent;
    device->number = (parent < 0 ? gpu_count : instance_count) - 1;  /* it is counted already */
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

#ifdef TABLE

static int is_there(const char *form, int number) {
    char path[64];
    snprintf(path, sizeof path, form, number);
    return access(path, R_OK | W_OK) == 0;
}

static int read_table(void) {
    static char text[] = TABLE;
    char *rest = NULL;
    int kept = 0;
    if (gpu_count) return init_code;
    if (access("/dev/nvidiactl", R_OK | W_OK)) return 9;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) read_line(line);
    for (int i = 0; i < instance_count; i++)
        if (is_there("/dev/nvidia-caps/nvidia-cap%d", 10 + instances[i].number)) instances[kept++] = instances[i];
    instance_count = kept;
    kept = 0;
    for (int i = 0; i < gpu_count; i++) {
        if (!is_there("/dev/nvidia%d", gpus[i].number)) continue;
        for (int j = 0; j < instance_count; j++)
            if (instances[j].parent == i) instances[j].parent = kept;
        gpus[kept++] = gpus[i];
    }
    gpu_count = kept;
    return init_code;
}

#else

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

#endif

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

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t **device) {
    for (int i = 0; i < gpu_count; i++)
        if (!strcmp(gpus[i].uuid, uuid)) return *device = &gpus[i], gpus[i].error;
    for (int i = 0; i < instance_count; i++)
        if (!strcmp(instances[i].uuid, uuid)) return *device = &instances[i], instances[i].error;
    return NOT_FOUND;
}

int nvmlDeviceGetName(device_t *device, char *name, unsigned int length) {
    snprintf(name, length, "%s", device->name);
    return device->error;
}

int nvmlDeviceGetUUID(device_t *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "%s", device->uuid);
    return device->error;
}

int nvmlDeviceGetMinorNumber(device_t *device, unsigned int *minor) {
    *minor = (unsigned int)device->number;
    return device->error;
}

int nvmlDeviceGetGpuInstanceId(device_t *device, unsigned int *id) {
    *id = (unsigned int)device->number + 1;
    return device->parent < 0 ? UNSUPPORTED : device->error;
}

int nvmlDeviceGetComputeInstanceId(device_t *device, unsigned int *id) {
    *id = 0;
    return device->parent < 0 ? UNSUPPORTED : device->error;
}

int nvmlDeviceGetBrand(device_t *device, int *brand) { *brand = device->brand; return device->error; }

int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
    *major = device->major;
    *minor = device->minor;
    return device->error;
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *memory) {
    memory->total = device->memory;
    memory->used = device->memory / 4;
    memory->free = memory->total - memory->used;
    return device->error;
}

int nvmlDeviceGetUtilizationRates(device_t *device, utilization_t *rates) {
    rates->gpu = 20 * ((unsigned int)device->number + 1);  /* the first GPU 20 %, the second 40 % */
    rates->memory = 0;
    return device->parent < 0 ? device->error : UNSUPPORTED;
}

int nvmlDeviceGetEccMode(device_t *device, int *current, int *pending) {
    if (device->ecc < 0) return UNSUPPORTED;
    *current = *pending = device->ecc;
    return device->error;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned int *current, unsigned int *pending) {
    if (device->major < 8) return UNSUPPORTED;
    *current = *pending = device->mig;
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
