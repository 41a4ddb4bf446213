# What only the server itself knows, for playbooks/status.yml: one line for each thing. Reads only.
#   look_status.sh FOLDER_OF_DUMPS PORT_OF_THE_CERTIFICATE
LC_ALL=C
echo "now=$(date +%s)"
if [ -r /run/autostop/status.json ]; then
  echo "autostop=$(tr -d '\n' </run/autostop/status.json)"
fi
dump=$(find "$1" -maxdepth 3 -type f -name '*.sql.gz' -printf '%T@\n' 2>/dev/null | sort -n | tail -n 1)
echo "dump=${dump%.*}"
if [ "$2" -gt 0 ]; then
  end=$(openssl s_client -connect "127.0.0.1:$2" </dev/null 2>/dev/null | openssl x509 -noout -enddate 2>/dev/null)
  [ -z "$end" ] || echo "certificate=$(date -d "${end#*=}" +%s)"
fi
