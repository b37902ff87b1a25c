// The one place where llama.cpp is called and may throw.
//
// An exception that reached Rust would end the process. Here each call is made inside a `try`:
// a function returns null where the call went well, else what the exception said, which the
// caller gives back to `nmos_guard_free`. What a call yields goes through a pointer.

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace {

// Where there is no memory for words. Never freed.
char no_memory[] = "memory is short";

char * copy(const char * text) {
    const size_t size = std::strlen(text) + 1;
    auto * words = static_cast<char *>(std::malloc(size));
    if (words == nullptr) {
        return no_memory;
    }
    std::memcpy(words, text, size);
    return words;
}

// What the exception under way says.
char * words() {
    try {
        throw;
    } catch (const std::bad_alloc &) {
        return no_memory;
    } catch (const std::exception & error) {
        return copy(error.what());
    } catch (...) {
        return copy("an exception without words");
    }
}

template <typename Call> char * guarded(Call call) noexcept {
    try {
        call();
        return nullptr;
    } catch (...) {
        return words();
    }
}

void (*tell_termination)(const char *) = nullptr;

[[noreturn]] void terminated() {
    if (tell_termination != nullptr) {
        char * text = std::current_exception() ? words() : copy("std::terminate was called");
        tell_termination(text);
    }
    std::abort();
}

} // namespace

extern "C" {

void nmos_guard_free(char * words) {
    if (words != no_memory) {
        std::free(words);
    }
}

// Calls `tell` with an exception's words where nobody catches it, before the process aborts.
void nmos_guard_on_terminate(void (*tell)(const char *)) {
    tell_termination = tell;
    std::set_terminate(terminated);
}

// Throws, as llama.cpp may: for tests of the guard.
char * nmos_guard_throw(int32_t kind) {
    return guarded([&] {
        switch (kind) {
            case 0: throw std::bad_alloc();
            case 1: throw 7;
            default: throw std::exception();
        }
    });
}

char * nmos_guard_load(const char ** paths, size_t n, const llama_model_params * params,
                       llama_model ** model) {
    return guarded([&] {
        *model = n == 1 ? llama_model_load_from_file(paths[0], *params)
                        : llama_model_load_from_splits(paths, n, *params);
    });
}

char * nmos_guard_make(gguf_context * metadata, llama_model_set_tensor_data_t tensor, void * to,
                       const llama_model_params * params, llama_model ** model) {
    return guarded([&] { *model = llama_model_init_from_user(metadata, tensor, to, *params); });
}

char * nmos_guard_free_model(llama_model * model) {
    return guarded([&] { llama_model_free(model); });
}

char * nmos_guard_context(llama_model * model, const llama_context_params * params,
                          llama_context ** context) {
    return guarded([&] { *context = llama_init_from_model(model, *params); });
}

char * nmos_guard_free_context(llama_context * context) {
    return guarded([&] { llama_free(context); });
}

char * nmos_guard_decode(llama_context * context, const llama_batch * batch, int32_t * status) {
    return guarded([&] { *status = llama_decode(context, *batch); });
}

char * nmos_guard_logits(llama_context * context, int32_t i, float ** logits) {
    return guarded([&] { *logits = llama_get_logits_ith(context, i); });
}

char * nmos_guard_forget(llama_context * context, int32_t sequence, int32_t from, bool * done) {
    return guarded(
        [&] { *done = llama_memory_seq_rm(llama_get_memory(context), sequence, from, -1); });
}

char * nmos_guard_share(llama_context * context, int32_t source, int32_t target, int32_t from,
                        int32_t to) {
    return guarded(
        [&] { llama_memory_seq_cp(llama_get_memory(context), source, target, from, to); });
}

char * nmos_guard_tokenize(const llama_vocab * vocab, const char * text, int32_t bytes,
                           int32_t * tokens, int32_t most, bool special, int32_t * n) {
    return guarded([&] { *n = llama_tokenize(vocab, text, bytes, tokens, most, false, special); });
}

char * nmos_guard_piece(const llama_vocab * vocab, int32_t token, char * piece, int32_t most,
                        bool special, int32_t * n) {
    return guarded([&] { *n = llama_token_to_piece(vocab, token, piece, most, 0, special); });
}

char * nmos_guard_token(const llama_vocab * vocab, int32_t token, const char ** text,
                        int32_t * attributes) {
    return guarded([&] {
        *text = llama_vocab_get_text(vocab, token);
        *attributes = llama_vocab_get_attr(vocab, token);
    });
}

char * nmos_guard_template(const char * name, const llama_chat_message * messages, size_t n,
                           bool answer, char * text, int32_t most, int32_t * bytes) {
    return guarded(
        [&] { *bytes = llama_chat_apply_template(name, messages, n, answer, text, most); });
}

char * nmos_guard_header(const char * path, gguf_context ** header) {
    return guarded([&] {
        gguf_init_params params = {};
        params.no_alloc = true;
        *header = gguf_init_from_file(path, params);
    });
}

char * nmos_guard_header_of(const void * bytes, size_t n, gguf_context ** header) {
    return guarded([&] {
        gguf_init_params params = {};
        params.no_alloc = true;
        *header = gguf_init_from_buffer(bytes, n, params);
    });
}

} // extern "C"
