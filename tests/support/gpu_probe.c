/* Prints what a program sees of the GPUs: the variables of CUDA, whether CUDA's library loads, each device's UUID. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct device device_t;

static int (*call_init)(void);
static int (*call_count)(unsigned int *);
static int (*call_handle)(unsigned int, device_t **);
static int (*call_uuid)(device_t *, char *, unsigned int);
static int (*call_part)(device_t *, unsigned int, device_t **);

static void show(device_t *device) {
    char uuid[96];
    if (!call_uuid(device, uuid, sizeof uuid)) puts(uuid);
}

int main(void) {
    const char *names[] = {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"};
    unsigned int count = 0;
    void *library;
    for (int i = 0; i < 2; i++) printf("%s=%s\n", names[i], getenv(names[i]) ? getenv(names[i]) : "-");
    printf("libcuda %s\n", dlopen("libcuda.so.1", RTLD_NOW) ? "loads" : dlerror());
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) return printf("%s\n", dlerror()), 1;
    *(void **)&call_init = dlsym(library, "nvmlInit_v2");
    *(void **)&call_count = dlsym(library, "nvmlDeviceGetCount_v2");
    *(void **)&call_handle = dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
    *(void **)&call_uuid = dlsym(library, "nvmlDeviceGetUUID");
    *(void **)&call_part = dlsym(library, "nvmlDeviceGetMigDeviceHandleByIndex");
    if (call_init() || call_count(&count)) return puts("no driver"), 1;
    for (unsigned int i = 0; i < count; i++) {
        device_t *device, *part;
        unsigned int parts = 0;
        if (call_handle(i, &device)) continue;
        for (; !call_part(device, parts, &part); parts++) show(part);
        if (!parts) show(device);
    }
    return 0;
}
