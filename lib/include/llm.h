/* SPDX-License-Identifier: MIT */
/*
 * llm.h: the public header of libllm, the one include a program needs.
 *
 * A session (struct llm) is one connection to the machine's LLM daemon, llmd. A program submits
 * requests and reads events: tokens as they are made, then exactly one end per request. Tokens come
 * through memory shared with the daemon: while it keeps up with the reader, no system call is made.
 *
 *	struct llm_request req = LLM_REQUEST_INIT;
 *	struct llm_event ev;
 *	struct llm *s;
 *
 *	req.prompt = "The capital of France is";
 *	if (llm_open(NULL, NULL, &s) || llm_submit(s, &req, NULL))
 *		return 1;
 *	while (llm_next(s, &ev, -1) == 1 && ev.type == LLM_EVENT_TOKENS) {
 *		fwrite(ev.text, 1, ev.text_len, stdout);
 *		llm_seen(s);
 *	}
 *	llm_close(s);
 *
 * Rules for all calls:
 *   - What fails returns -errno; llm_strerror() has a sentence for the code, llm_error() one for
 * the case at hand, with the numbers. Nothing prints, exits, or touches signals.
 *   - A session is not for two threads at once; several sessions are independent of each other.
 *   - After fork() the child may only llm_close() its parent's sessions; all else gives -EPERM.
 *   - Structures that a program fills start with their size and are made with an _INIT macro, so
 *     that programs built today work with the libraries of tomorrow.
 */
#ifndef LLM_H
#define LLM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

struct llm; /* a session */

/* ---- opening ----------------------------------------------------------------------------- */

#define LLM_MAX_MODEL_LEN 128u /* bytes of a model's name */
#define LLM_MESSAGE_MAX 256u   /* bytes of a sentence, terminator included */

struct llm_open_args {
	uint32_t size;	       /* of this structure, bytes */
	uint32_t max_requests; /* in flight at once, 1..4096; 0: 64 */
	uint32_t ring_bytes;   /* for tokens: power of two, >= 2048 a request; 0: 256 KiB or more */
	int fd;		       /* > 0: a connected SOCK_SEQPACKET socket to use; 0: none */
	int timeout_ms;	       /* for the daemon's answer; -1: none */
	uint32_t pad;	       /* zero */
	const char *name;      /* of the program, for people; NULL: as it was started */
	char *message;	       /* NULL or LLM_MESSAGE_MAX bytes: says why llm_open() failed */
};

#define LLM_OPEN_ARGS_INIT                                                  \
	{                                                                   \
		sizeof(struct llm_open_args), 0, 0, 0, 30000, 0, NULL, NULL \
	}

/*
 * Opens a session. `where` is the path of the daemon's socket. NULL: $LLM_DOOR if set, else the
 * first that answers of the device /dev/llm (if the machine has one), /run/llm/llm.sock and
 * $XDG_RUNTIME_DIR/llm.sock. args may be NULL. With args->fd `where` must be NULL; the session owns
 * the socket once llm_open() has succeeded.
 *
 * 0; -EHOSTDOWN none of the default places has a daemon; -ENOENT, -ECONNREFUSED nobody serves at
 * `where`; -EACCES not allowed; -ENOBUFS the daemon has too many sessions of this user; -ETIMEDOUT;
 * -EINTR; -EOPNOTSUPP the device door, which this version does not have; -EINVAL, -E2BIG bad args;
 * -EPROTO not an llmd, or of another version.
 */
int llm_open(const char *where, const struct llm_open_args *args, struct llm **out);

/* Cancels what is left, ends the session and frees it. Pointers of its events die. NULL is fine. */
void llm_close(struct llm *s);

enum llm_door { LLM_DOOR_SOCKET = 1, LLM_DOOR_DEVICE = 2 };

struct llm_info {
	uint32_t door;		 /* enum llm_door */
	uint32_t session_id;	 /* as llmctl shows it */
	uint32_t is_alive;	 /* 1 while a daemon serves the session */
	uint32_t context_tokens; /* prompt + output of one request at most */
	uint32_t vocab_size;	 /* token ids are below this */
	uint32_t max_requests;	 /* in flight at once */
	uint32_t n_requests;	 /* in flight now: submitted, and the end not yet read */
	uint32_t max_body_bytes; /* of one encoded request */
	uint64_t body_bytes;	 /* of all encoded requests in flight */
	uint32_t ring_bytes;	 /* of tokens not yet seen */
	uint32_t pad;
	uint64_t
		token_bytes; /* of weights the daemon reads to decode one token alone; 0: unknown */
	uint64_t reserved[7];
	char model[LLM_MAX_MODEL_LEN]; /* name of the model that answers */
};

/* What is known of the session now. */
void llm_info(const struct llm *s, struct llm_info *out);

/* ---- submitting -------------------------------------------------------------------------- */

#define LLM_UNSET 0xffffffffu	/* max_tokens: until the model ends or the context is full */
#define LLM_STRLEN ((size_t)-1) /* a length: the text is a terminated string */

enum llm_flag {
	LLM_FLAG_IGNORE_EOS = 1 << 0, /* go on when the model ends */
	LLM_FLAG_ECHO = 1 << 1,	      /* the prompt's tokens come back first */
	LLM_FLAG_RAW = 1 << 2,	 /* prompt as it is: no template; BOS if the model's file says so */
	LLM_FLAG_TOKENS = 1 << 3 /* ids only: events carry no text */
};

#define LLM_MAX_STOPS 16u     /* stop strings of one request */
#define LLM_MAX_STOP_LEN 256u /* bytes of one, at least 1 */
#define LLM_MAX_STOP_IDS 64u

/* One request. Start from LLM_REQUEST_INIT and give it exactly one of prompt, ids, messages. */
struct llm_request {
	uint32_t size;	     /* of this structure, bytes */
	uint32_t flags;	     /* enum llm_flag */
	const char *prompt;  /* UTF-8 text */
	size_t prompt_len;   /* bytes; LLM_STRLEN (default): terminated */
	const uint32_t *ids; /* token ids */
	size_t n_ids;
	const char *messages; /* JSON array of {"role": ..., "content": ...} */
	size_t messages_len;  /* bytes; LLM_STRLEN (default): terminated */
	uint32_t max_tokens;  /* of output, >= 1; LLM_UNSET (default) */
	uint32_t min_tokens;  /* neither EOS nor a stop before so many; 0 */
	float temperature;    /* 0 (default): the likeliest token each time */
	uint32_t top_k;	      /* keep the k likeliest; 0 (default): all */
	float top_p;	      /* keep the likeliest of this total probability, (0, 1]; 1: all */
	float min_p;	      /* keep those of this share of the likeliest one's, [0, 1); 0: all */
	float repetition_penalty; /* > 0; 1: none */
	float presence_penalty;	  /* 0: none */
	float frequency_penalty;  /* 0: none */
	uint32_t has_seed;	  /* 1: seed is given; 0: libllm draws one */
	uint64_t seed;		  /* same request, same seed: same tokens */
	const char *const *stops; /* n_stops terminated strings: output ends before one appears */
	size_t n_stops;
	const uint32_t *stop_ids; /* tokens that end the output */
	size_t n_stop_ids;
	const char *model;    /* the model that must answer, or NULL: whichever is there */
	int32_t priority;     /* among the requests of one user, higher first; 0 */
	uint32_t pad;	      /* zero */
	uint64_t deadline_ns; /* from arrival, then the request ends; 0: none */
	uint64_t user_data;   /* comes back with every event */
};

/* clang-format off */
#define LLM_REQUEST_INIT                                                     \
	{                                                                    \
		sizeof(struct llm_request), 0,	/* size, flags */            \
		NULL, LLM_STRLEN, NULL, 0, NULL, LLM_STRLEN, /* prompts */   \
		LLM_UNSET, 0,			/* max_tokens, min_tokens */ \
		0, 0, 1, 0,			/* temperature .. min_p */   \
		1, 0, 0,			/* penalties */              \
		0, 0,				/* has_seed, seed */         \
		NULL, 0, NULL, 0, NULL,		/* stops, model */           \
		0, 0, 0, 0,			/* priority .. user_data */  \
	}
/* clang-format on */

/*
 * Submits one request. *req and what it points to may go as soon as the call returns. id may be
 * NULL. From success on exactly one LLM_EVENT_END will come for it, a refusal by the daemon
 * included.
 *
 * 0; -ENOBUFS no credit now: max_requests or body_bytes are in flight (an END gives credit back),
 * or the socket is full (wait for llm_poll_events()); -EDQUOT it would not fit even alone;
 * -EMSGSIZE larger than max_body_bytes; -EINVAL a field makes no sense; -EBUSY an llm_prep_submit()
 * is not done; -EHOSTDOWN, -EPROTO the session is over. Nothing was sent then.
 */
int llm_submit(struct llm *s, const struct llm_request *req, uint64_t *id);

/*
 * Submits the n requests of an array, in order, up to the first that fails. Returns how many were
 * submitted, or the first one's error. All have the same size. ids (n of them) may be NULL.
 * n choices for one prompt: n requests with has_seed and seed, seed + 1, ...; the daemon reads the
 * shared prompt once.
 */
int llm_submit_many(struct llm *s, const struct llm_request *req, size_t n, uint64_t *ids);

/*
 * Asks the daemon to end a request, or all of them (id 0). Its END still comes, with reason
 * CANCELED or any other that was earlier. 0; -ENOENT no such request is in flight; -EBUSY its
 * llm_prep_submit() is not done; -ENOBUFS the socket is full; -EHOSTDOWN, -EPROTO.
 */
int llm_cancel(struct llm *s, uint64_t id);

/* ---- events ------------------------------------------------------------------------------ */

enum llm_event_type {
	LLM_EVENT_TOKENS = 1,
	LLM_EVENT_END = 3 /* the request's last; its id is never used again */
};

enum llm_reason {
	LLM_REASON_EOS = 1,	 /* the model ended */
	LLM_REASON_LENGTH = 2,	 /* max_tokens, or the context is full */
	LLM_REASON_STOP = 3,	 /* a stop string or stop id */
	LLM_REASON_CANCELED = 4, /* by llm_cancel() or an administrator */
	LLM_REASON_DEADLINE = 5, /* deadline_ns passed */
	LLM_REASON_ERROR = 6,	 /* see status and message */
	LLM_REASON_HOSTDOWN = 7	 /* the daemon is gone, or broke the protocol (status tells) */
};

/* What an END with an error is about. */
enum llm_err_field {
	LLM_ERR_FIELD_NONE = 0,
	LLM_ERR_FIELD_BODY = 1,
	LLM_ERR_FIELD_PROMPT = 2,
	LLM_ERR_FIELD_IDS = 3,
	LLM_ERR_FIELD_MESSAGES = 4,
	LLM_ERR_FIELD_MAX_TOKENS = 5,
	LLM_ERR_FIELD_MIN_TOKENS = 6,
	LLM_ERR_FIELD_TEMPERATURE = 7,
	LLM_ERR_FIELD_TOP_K = 8,
	LLM_ERR_FIELD_TOP_P = 9,
	LLM_ERR_FIELD_MIN_P = 10,
	LLM_ERR_FIELD_PENALTY = 11,
	LLM_ERR_FIELD_SEED = 12,
	LLM_ERR_FIELD_LOGPROBS = 13,
	LLM_ERR_FIELD_STOP = 14,
	LLM_ERR_FIELD_LOGIT_BIAS = 15,
	LLM_ERR_FIELD_MODEL = 16,
	LLM_ERR_FIELD_ADAPTER = 17,
	LLM_ERR_FIELD_GRAMMAR = 18,
	LLM_ERR_FIELD_DEADLINE = 19,
	LLM_ERR_FIELD_PRIORITY = 20,
	LLM_ERR_FIELD_TOOLS = 21,
	LLM_ERR_FIELD_FLAGS = 22,
	LLM_ERR_FIELD_QUOTA = 23,
	LLM_ERR_FIELD_IMAGE = 24
};

/* One event. Fields of another type than `type` hold nothing to be read. */
struct llm_event {
	uint32_t type; /* enum llm_event_type */
	uint32_t n;    /* TOKENS: how many ids; 0 when text that was held back comes alone */
	uint64_t id;
	uint64_t user_data;

	/* TOKENS. ids and text lie in shared memory: valid until llm_seen(). */
	const uint32_t *ids;
	const char *text;     /* whole UTF-8 characters, not terminated */
	uint32_t text_len;    /* bytes */
	uint32_t first_index; /* of ids[0] in the request's output, from 0; no gaps, no repeats */
	uint64_t produced_ns; /* CLOCK_MONOTONIC when the step that made them ended */

	/* END. */
	uint32_t reason;    /* enum llm_reason */
	int32_t status;	    /* 0 or -errno */
	uint32_t err_field; /* enum llm_err_field */
	uint32_t prompt_tokens;
	uint32_t cached_tokens; /* of the prompt, found in the prefix cache */
	uint32_t generated_tokens;
	uint32_t preemptions; /* times the request lost its memory and was computed again */
	uint32_t pad;
	uint64_t got, limit;				       /* the two numbers of message */
	uint64_t queue_ns, tokenize_ns, prefill_ns, decode_ns; /* where its time went */
	uint64_t reserved[4];
	char message[LLM_MESSAGE_MAX]; /* a sentence; empty when all went well */
};

/*
 * The next event. timeout_ms: -1 waits as long as it takes, 0 not at all. Events of one request
 * come in order. 1: *ev is filled; 0: none within the time; -EINTR a signal came; -EPERM after
 * fork. When the daemon dies every request in flight still gets its END (LLM_REASON_HOSTDOWN);
 * after the last one llm_next() returns -EHOSTDOWN, or -EPROTO where the daemon broke the protocol.
 */
int llm_next(struct llm *s, struct llm_event *ev, int timeout_ms);

/*
 * Done with every event returned so far: their ids and text are no longer valid and the daemon may
 * use the space. A program that never calls it stops receiving when the ring is full.
 */
void llm_seen(struct llm *s);

/* ---- waiting elsewhere ------------------------------------------------------------------- */

/*
 * A descriptor for poll(2), epoll(7) or io_uring. Wait only after llm_next() has returned 0; when
 * the descriptor reports anything, call llm_next(s, &ev, 0) until it returns 0 again.
 */
int llm_fd(const struct llm *s);

/* What to wait for now: POLLIN always; POLLOUT while something could not be sent. */
short llm_poll_events(const struct llm *s);

/* ---- a program's own io_uring ------------------------------------------------------------- */

struct io_uring_sqe;

/* Memory of one llm_prep_submit(): the program's, from the call until llm_prep_done(). */
struct llm_prepared {
	uint64_t id;	     /* of the request, known at once; 0 after a failure */
	uint64_t opaque[31]; /* libllm's */
};

/*
 * Fills an SQE that submits the request; set its user_data afterwards. *req may go at once, *p must
 * stay where it is. SQEs go to the ring in the order they were prepared, with neither IOSQE_ASYNC
 * nor links. Errors as of llm_submit(), except -EBUSY; then the SQE is untouched.
 */
int llm_prep_submit(struct llm *s, struct io_uring_sqe *sqe, const struct llm_request *req,
		    struct llm_prepared *p);

/*
 * Takes the completion's `res` (or -ECANCELED for an SQE that never went to the kernel) and frees
 * what p holds. 0: submitted, an END will come (or came); -ENOBUFS the socket was full, try again;
 * -EHOSTDOWN; else the completion's error. After an error no event of this request comes.
 */
int llm_prep_done(struct llm *s, struct llm_prepared *p, int cqe_res);

/*
 * Fills an SQE that waits for news (a multishot poll). Once after it was submitted, and after each
 * of its completions, call llm_next(s, &ev, 0) until it returns 0; prepare another one when a
 * completion comes without IORING_CQE_F_MORE. 0, or -EPERM after fork.
 */
int llm_prep_wait(struct llm *s, struct io_uring_sqe *sqe);

/* ---- the daemon itself --------------------------------------------------------------------- */

/*
 * Asks the daemon at `where` (as llm_open(), the socket door) one question: a JSON object, such as
 * {"command":"status"}; llmctl(1) lists them. *reply is a JSON text, terminated, to be freed with
 * free(). A refusal by the daemon is a reply too, with a member "error". Needs no session.
 *
 * 0; -EMSGSIZE a question over 4096 bytes; -EPROTO, and what llm_open() gives.
 */
int llm_control(const char *where, const char *question, char **reply);

/* ---- errors ------------------------------------------------------------------------------ */

/* A sentence for an error code (its sign does not matter). Never NULL. */
const char *llm_strerror(int err);

/* A sentence about the call that failed last, or "". Valid until the next call that fails. */
const char *llm_error(const struct llm *s);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
