/* A budget for a fleet: contrib/fleet, with Options.Strict. P processes share MAX rights.
 *
 * Time passes in ticks. A lease lasts LEASE of them by the clock of the server, which may run ahead by JUMP, JUMPS
 * times, and with -DBACK stand still. A process opens nothing when OPENS have passed since it sent the last operation
 * that was answered, and has given up all after LOSES; so it does before the next tick, unless it is stopped
 * (STOPS times). Operations and answers are lost, and operations are carried out late; with -DLATE up to two of a
 * process are on their way. REQS is how many each process sends, REQS1 the second. The server is restarted RESTARTS
 * times, with its data; with -DLOSS also without, with -DONLY as well never with them; with -DCOPY also with those of an
 * earlier time, as a replica has them that takes over. What is offered lapses at any time. What must come at last is no
 * matter of this model.
 *
 * Always: no more rights are counted than there are. No more connections are lent than there are rights, by
 * processes other than those that have been stopped for longer than their lease and have not been answered since.
 * When an answer is taken, the server counts what the process has.
 */
#ifndef P
#define P 2
#endif
#ifndef MAX
#define MAX 1
#endif
#ifndef LEASE
#define LEASE 4
#endif
#ifndef LOSES
#if BUG==117
#define LOSES 3
#else
#define LOSES 2
#endif
#endif
#ifndef OPENS
#define OPENS 1
#endif
#ifndef JUMP
#define JUMP 1
#endif
#ifndef JUMPS
#define JUMPS 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef RESTARTS
#define RESTARTS 0
#endif
#ifndef REQS
#define REQS 2
#endif
#ifndef REQS1
#define REQS1 REQS
#endif
#ifndef BUG
#define BUG 0
#endif

/* The processes. */
bit stopped[P];
bit excused[P];                    /* stopped for longer than its lease, and not answered since */
byte fresh[P];                     /* ticks until all is given up, counted from sending; 0: it is time */
byte spare[P], lent[P];            /* rights in store, and with connections */
bit dialing[P], stale[P];          /* an open is under way; the term has changed meanwhile */
byte seq[P];
bit flying[P], vain[P];            /* an operation is under way; rights have been given up since */
byte tent[P];                      /* what fresh will be */
byte held[P];                      /* what that operation says */

/* On their way: two operations and one answer of each. */
bit there[4], wants[4], overdue[4];
byte mseq[4], mheld[4];
bit answer[P];
byte aseq[P], amine[P], alost[P];

/* The server. */
bit known[P], want[P], offered[P];
byte cnt[P], sseq[P], left[P];
byte grace=0;
bit rebooted=0, gone=0;
byte jumps=0, stops=0, restarts=0;
#ifdef COPY
bit cknown[P], cwant[P], coffered[P];
byte ccnt[P], csseq[P], cleft[P];
byte cgrace=0;
#endif

#define USED (cnt[0]+cnt[1])
#define HAS(p) (lent[p]+spare[p]+(dialing[p] && !stale[p]))
#define LENT ((excused[0] -> 0 : lent[0])+(excused[1] -> 0 : lent[1]))
#define MAYOPEN(p) (fresh[p]>LOSES-OPENS)

inline drop(q) {                   /* the server knows nothing of q any more */
  known[q]=0; cnt[q]=0; sseq[q]=0; left[q]=0; want[q]=0; offered[q]=0
}

inline giveUp(p) {                 /* store.lose */
  spare[p]=0; lent[p]=0;
  if :: dialing[p] -> stale[p]=1 :: else fi;
  if :: flying[p] && BUG!=120 -> vain[p]=1 :: else fi;
  excused[p]=0
}

proctype Process(byte p) {
  byte n;
end:
  do
  :: atomic { !stopped[p] && !flying[p] && seq[p]<(p -> REQS1 : REQS) ->            /* store.request */
       seq[p]++;
       held[p]=HAS(p);
       if
       :: spare[p]>0 ->            /* nobody needs it */
          held[p]=held[p]-spare[p];
#if BUG!=119
          spare[p]=0
#endif
       :: true
       fi;
       flying[p]=1; vain[p]=0; tent[p]=LOSES;
       n=2*p;
#ifdef LATE
       if :: there[n] -> n++ :: else fi;
#endif
       if
       :: !there[n] -> there[n]=1; mseq[n]=seq[p]; mheld[n]=held[p]; overdue[n]=(fresh[p]==0 && held[p]>0);
          if :: held[p]==0 -> wants[n]=1 :: true fi
       :: true                     /* it is lost */
       fi;
       n=0
     }
  :: atomic { !stopped[p] && flying[p] -> flying[p]=0; tent[p]=0 }    /* store.call gives up */
  :: atomic { !stopped[p] && answer[p] ->                             /* store.apply */
       if
       :: flying[p] && aseq[p]==seq[p] ->
          flying[p]=0;
          if
          :: vain[p]               /* it asks again */
          :: else ->
#if BUG==111
             fresh[p]=LOSES;
#else
             fresh[p]=tent[p];
#endif
             if
             :: alost[p]>0 -> giveUp(p)
             :: else ->
                if
                :: amine[p]>held[p] -> spare[p]=spare[p]+amine[p]-held[p]
                :: else
                fi;
                assert(!known[p] || sseq[p]!=seq[p] || rebooted || cnt[p]-offered[p]==HAS(p) || BUG==119)
             fi;
             if :: fresh[p]>0 -> excused[p]=0 :: else fi
          fi;
          tent[p]=0; vain[p]=0
       :: else                     /* nobody waits for it any more */
       fi;
       answer[p]=0; aseq[p]=0; amine[p]=0; alost[p]=0
     }
  :: atomic { !stopped[p] && fresh[p]==0 && HAS(p)>0 -> giveUp(p) }   /* store.expire */
  :: atomic { !stopped[p] && lent[p]==0 && spare[p]>0 && !dialing[p] && (MAYOPEN(p) || BUG==113) ->   /* Term, then Open */
       spare[p]--; dialing[p]=1; stale[p]=0 }
  :: atomic { !stopped[p] && dialing[p] ->                            /* Open has returned, then Term */
       dialing[p]=0;
       if
       :: !stale[p] && MAYOPEN(p) || BUG==114 || BUG==113 -> lent[p]++
       :: stale[p] && BUG!=114 && BUG!=113
       :: !stale[p] && !MAYOPEN(p) && BUG!=114 && BUG!=113 -> spare[p]++
       fi;
       stale[p]=0;
       assert(LENT<=MAX)
     }
  :: atomic { !stopped[p] && lent[p]>0 -> lent[p]--; spare[p]++ }     /* it is closed */
  :: atomic { !stopped[p] && stops<STOPS -> stops++; stopped[p]=1 }
  :: atomic { stopped[p] -> stopped[p]=0 }
  od
}

inline over() {                    /* leases that are over */
  q=0;
  do
  :: q<P -> if :: known[q] && left[q]==0 -> drop(q) :: else fi; q++
  :: else -> q=0; break
  od
}

proctype Server() {
  byte m, p, q, extra, keep, lost, w;
end:
  do
  :: atomic { (there[0] || there[1] || there[2] || there[3]) ->       /* budget.lua */
       if
       :: there[0] -> m=0
       :: there[1] -> m=1
       :: there[2] -> m=2
       :: there[3] -> m=3
       fi;
       p=m/2;
       if
       :: rebooted -> if :: BUG!=116 -> grace=LEASE :: else fi; rebooted=0
       :: else
       fi;
       if
       :: gone -> if :: BUG!=110 -> grace=LEASE :: else -> grace=0 fi; gone=0
       :: else
       fi;
       over();
       if
       :: known[p] && mseq[m]<=sseq[p] && BUG!=112 -> skip            /* late */
       :: else ->
          known[p]=1; sseq[p]=mseq[m]; left[p]=LEASE; w=wants[m]; lost=0;
          if
          :: overdue[m] && grace>0 && BUG!=121 ->                     /* others may have that, of whom nothing is known */
             lost=mheld[m]; mheld[m]=0; cnt[p]=0; offered[p]=0
          :: else
          fi;
          if
          :: mheld[m]>cnt[p] ->                                       /* it has what is not known: it gets it back if it is free */
             extra=mheld[m]-cnt[p];
             if
             :: extra>MAX-USED && BUG!=115 -> lost=extra-(MAX-USED); extra=MAX-USED
             :: else
             fi;
             cnt[p]=cnt[p]+extra
          :: else ->                                                  /* what it does not have is free, but for what was offered */
             extra=cnt[p]-mheld[m];
             keep=(extra<offered[p] -> extra : offered[p]);
             keep=(keep<w -> keep : w);
             w=w-keep;
#if BUG==118
             cnt[p]=cnt[p]
#else
             cnt[p]=mheld[m]+keep
#endif
          fi;
          offered[p]=0; want[p]=w;
          /* to those who wait; of two, either may have come first */
          do
          :: grace==0 && USED<MAX && want[p] -> cnt[p]++; want[p]=0
          :: grace==0 && USED<MAX && want[1-p] && known[1-p] -> cnt[1-p]++; want[1-p]=0; offered[1-p]=1
          :: else -> break
          od;
          assert(USED<=MAX);
          if
          :: true ->
             answer[p]=1; aseq[p]=mseq[m]; alost[p]=lost;
#if BUG==118
             amine[p]=(cnt[p]>mheld[m]+keep -> mheld[m]+keep : cnt[p])
#else
             amine[p]=cnt[p]
#endif
          :: true                                                     /* it is lost */
          fi
       fi;
       there[m]=0; mseq[m]=0; mheld[m]=0; wants[m]=0; overdue[m]=0;
       m=0; p=0; extra=0; keep=0; lost=0; w=0
     }
  :: atomic { offered[0] -> offered[0]=0; cnt[0]--; want[0]=0 }       /* it passes on */
  :: atomic { offered[1] -> offered[1]=0; cnt[1]--; want[1]=0 }
  :: atomic { restarts<RESTARTS ->
       restarts++;
       if
#ifndef ONLY
       :: true -> rebooted=1
#endif
#ifdef LOSS
       :: true -> drop(0); drop(1); grace=0; rebooted=0; gone=1
#endif
#ifdef COPY
       :: true ->
          do
          :: q<P -> known[q]=cknown[q]; cnt[q]=ccnt[q]; sseq[q]=csseq[q]; left[q]=cleft[q]; want[q]=cwant[q]; offered[q]=coffered[q]; q++
          :: else -> q=0; break
          od;
          grace=cgrace; rebooted=1
#endif
       fi
     }
#ifdef COPY
  :: atomic { restarts<RESTARTS && !rebooted && !gone ->
       do
       :: q<P -> cknown[q]=known[q]; ccnt[q]=cnt[q]; csseq[q]=sseq[q]; cleft[q]=left[q]; cwant[q]=want[q]; coffered[q]=offered[q]; q++
       :: else -> q=0; break
       od;
       cgrace=grace
     }
#endif
  od
}

#define URGENT(p) (!stopped[p] && !excused[p] && fresh[p]==0 && HAS(p)>0)

proctype Time() {
  byte q, n;
end:
  do
  :: atomic { !URGENT(0) && !URGENT(1) ->
       do
       :: q<P ->
          if :: fresh[q]>0 -> fresh[q]-- :: else fi;
          if :: tent[q]>0 -> tent[q]-- :: else fi;
          if :: stopped[q] && fresh[q]==0 && HAS(q)>0 -> excused[q]=1 :: else fi;
          q++
       :: else -> q=0; break
       od;
       if
       :: n=1
#ifdef BACK
       :: n=0                      /* it was set back */
#endif
       :: jumps<JUMPS -> jumps++; n=1+JUMP
       fi;
       do
       :: n>0 ->
          do
          :: q<P ->
             if :: left[q]>0 -> left[q]-- :: else fi;
#ifdef COPY
             if :: cleft[q]>0 -> cleft[q]-- :: else fi;
#endif
             q++
          :: else -> q=0; break
          od;
          if :: grace>0 -> grace-- :: else fi;
#ifdef COPY
          if :: cgrace>0 -> cgrace-- :: else fi;
#endif
          n--
       :: else -> break
       od;
       n=0
     }
  od
}

init { atomic { run Process(0); run Process(1); run Server(); run Time() } }
